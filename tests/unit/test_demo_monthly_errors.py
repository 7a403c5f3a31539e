"""The year, month by month: what was answered against what the first version would have said."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from driftline.demo.monthly_errors import Flight, by_month, error_rates, table_lines
from driftline.demo.plot import draw
from driftline.demo.retrain_events import counts, unfinished_jobs, unique_events
from trainer.contracts import RetrainEvent, Step


def moment(month: int, day: int) -> int:
    return round(datetime(2013, month, day, tzinfo=UTC).timestamp() * 1000)


FLIGHTS = [
    Flight(moment(3, 1), "1", score=0.9, frozen_score=0.9, late=False),
    Flight(moment(3, 31), "2", score=0.1, frozen_score=0.9, late=False),
    Flight(moment(4, 1), "10", score=0.9, frozen_score=0.2, late=True),
]


def test_a_month_counts_its_flights_and_names_who_answered() -> None:
    march, april = by_month(FLIGHTS)
    assert (march.name, march.rates.n, march.rates.frozen, march.rates.driftline) == (
        "Mar 2013",
        2,
        1.0,
        0.5,
    )
    assert march.versions == ("1", "2")
    assert (april.rates.frozen, april.rates.driftline) == (1.0, 0.0)


@given(
    st.lists(
        st.builds(
            Flight,
            st.integers(0, 10**12),
            st.sampled_from("12"),
            st.floats(0, 1),
            st.floats(0, 1),
            st.booleans(),
        )
    )
)
def test_months_add_up_to_the_year(flights: list[Flight]) -> None:
    total = error_rates(flights)
    months = by_month(flights)
    assert sum(month.rates.n for month in months) == total.n == len(flights)
    wrong = sum(month.rates.n * month.rates.driftline for month in months)
    assert abs(wrong - total.n * total.driftline) < 1e-6
    assert len(table_lines(months, total)) == len(months) + 2


def test_the_picture_is_a_png(tmp_path: Path) -> None:
    draw(by_month(FLIGHTS * 100), tmp_path / "year.png")
    assert (tmp_path / "year.png").read_bytes().startswith(b"\x89PNG")


def event(job: str, step: Step, rule: str = "r") -> RetrainEvent:
    return RetrainEvent(
        id=f"{job}/{step}",
        job_id=job,
        step=step,
        model="m",
        champion="1",
        caused_by="a",
        rule=rule,
        reason="",
        time_ms=0,
    )


def test_repeats_count_once_and_only_started_jobs_are_waited_for() -> None:
    told = unique_events(
        [
            event("a", "requested"),
            event("a", "started"),
            event("a", "started"),
            event("b", "requested"),
            event("c", "declined", "data_quality"),
            event("d", "declined", "cooldown"),
        ]
    )
    assert counts(told) == {
        "requested": 2,
        "promoted": 0,
        "rejected": 0,
        "failed": 0,
        "cancelled": 0,
        "unfinished": 2,
        "refused_data_quality": 1,
    }
    assert unfinished_jobs(told) == {"a"}
    assert unfinished_jobs([*told, event("a", "promoted")]) == set()
    ended = counts([*told, event("a", "promoted"), event("b", "declined", "data_quality_open")])
    assert (ended["promoted"], ended["cancelled"], ended["unfinished"]) == (1, 1, 0)
