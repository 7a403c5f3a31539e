"""The error rates of the year by month: driftline, a monthly schedule, the first version."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline.demo import flights
from driftline.demo.monthly_errors import (
    ErrorRates,
    Flight,
    Month,
    by_month,
    draw,
    error_rates,
    table_lines,
)
from driftline.demo.reconciliation import counts, unfinished_jobs, unique_events
from driftline.demo.schedule import CHUNK_ROWS, scheduled_scores
from trainer.contracts import RetrainEvent, Step


def moment(month: int, day: int) -> int:
    return round(datetime(2013, month, day, tzinfo=UTC).timestamp() * 1000)


FLIGHTS = [
    Flight(moment(3, 1), "1", 0.9, frozen_score=0.9, scheduled_score=0.1, late=False),
    Flight(moment(3, 31), "2", 0.1, frozen_score=0.9, scheduled_score=0.1, late=False),
    Flight(moment(4, 1), "10", 0.9, frozen_score=0.2, scheduled_score=0.2, late=True),
]


def test_a_month_has_its_error_rates_and_the_versions_in_service() -> None:
    march, april = by_month(FLIGHTS)
    assert march == Month("Mar 2013", ErrorRates(2, 1.0, 0.0, 0.5), ("1", "2"))
    assert april == Month("Apr 2013", ErrorRates(1, 1.0, 1.0, 0.0), ("10",))


@given(
    st.lists(
        st.builds(
            Flight,
            st.integers(0, 10**12),
            st.sampled_from("12"),
            st.floats(0, 1),
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
    events = unique_events(
        [
            event("a", "requested"),
            event("a", "started"),
            event("a", "started"),
            event("b", "requested"),
            event("c", "declined", "data_quality"),
            event("d", "declined", "cooldown"),
        ]
    )
    assert counts(events) == {
        "requested": 2,
        "promoted": 0,
        "rejected": 0,
        "failed": 0,
        "cancelled": 0,
        "unfinished": 2,
        "refused_data_quality": 1,
    }
    assert unfinished_jobs(events) == {"a"}
    assert unfinished_jobs([*events, event("a", "promoted")]) == set()
    ended = counts([*events, event("a", "promoted"), event("b", "declined", "data_quality_open")])
    assert (ended["promoted"], ended["cancelled"], ended["unfinished"]) == (1, 1, 0)


@pytest.mark.slow
def test_the_schedule_fits_every_month_and_only_on_labels_that_are_known() -> None:
    frame = flights.load().iloc[::10]
    training, served = flights.split(frame)
    scores, n_fits = scheduled_scores(training, served)
    assert (len(scores), n_fits) == (len(served), 10)
    month = len(frame) // 12
    first_fit = CHUNK_ROWS * -(-month // CHUNK_ROWS)
    alone = served.assign(late=0)  # other labels: the same predictions, until the first fit
    changed, _ = scheduled_scores(training, alone)
    same = [a == b for a, b in zip(scores, changed, strict=True)]
    assert all(same[:first_fit])
    assert not all(same[first_fit:])
