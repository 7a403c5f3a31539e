"""Drift of a feature whose data are broken waits until they are mended."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_monitor.contracts import Phase
from tests.unit.alert_factories import alert
from tests.unit.hearing import (
    HOUR_MS,
    MENDED,
    MENDED_MS,
    MISSING,
    NOW_MS,
    WALL_MS,
    events,
    hear,
    later,
)
from trainer.jobs import Database, active_jobs, move
from trainer.jobs.quality import note_quality, quality_beside
from trainer.runtime.bench import Bench


@pytest.mark.parametrize("cause", [None, "constant", "unit_change"])
@pytest.mark.parametrize("severity", ["low", "medium", "high"])
def test_drift_beside_broken_data_of_its_feature_is_refused_with_the_reason(
    database: Database, bench: Bench, cause: str | None, severity: str
) -> None:
    hear(database, bench, **MISSING | {"cause": cause, "severity": severity})

    decision = hear(database, bench)

    assert (decision.action, decision.rule) == ("refuse", "beside_quality")
    told = events(database)[-1]
    assert (told.step, told.rule, told.caused_by) == ("refused", "beside_quality", "a")
    assert "temp: missing 1 % → 9 %" in told.reason
    assert told.numbers["quality_episode"] == "q"
    assert told.numbers["quality_onset_ms"] == NOW_MS - HOUR_MS
    assert told.numbers["effect"] == 0.2


@pytest.mark.parametrize("phase", ["recovered", "resolved", "superseded"])
def test_it_is_decided_again_when_they_are_mended_and_labels_count_from_then(
    database: Database, bench: Bench, phase: str
) -> None:
    hear(database, bench, **MISSING)
    hear(database, bench)
    assert later(database, bench, WALL_MS + 999 * HOUR_MS) == [None]

    hear(database, bench, **MENDED | {"phase": phase})
    (decision,) = later(database, bench)

    assert decision is not None
    assert (decision.action, decision.numbers["labels_since_ms"]) == ("ask", MENDED_MS)
    (job,) = active_jobs(database.rows)
    assert (job.caused_by, job.work.onset_ms, job.work.onset_offset) == ("a/later", MENDED_MS, 1)
    assert later(database, bench) == []


def test_drift_that_goes_with_the_broken_data_is_never_retrained_on(
    database: Database, bench: Bench
) -> None:
    hear(database, bench, **MISSING)
    hear(database, bench)
    hear(database, bench, alert_id="over", phase="recovered")
    hear(database, bench, **MENDED)

    assert later(database, bench, WALL_MS + 999 * HOUR_MS) == []
    assert active_jobs(database.rows) == []


def test_drift_told_after_the_broken_data_learns_from_what_came_after_them(
    database: Database, bench: Bench
) -> None:
    hear(database, bench, **MISSING)
    hear(database, bench, **MENDED)

    assert hear(database, bench, decided_ms=MENDED_MS + 1).action == "ask"
    (job,) = active_jobs(database.rows)
    assert job.work.onset_ms == MENDED_MS


def test_broken_data_that_were_mended_before_the_drift_change_nothing(
    database: Database, bench: Bench
) -> None:
    hear(database, bench, **MISSING)
    hear(database, bench, **MENDED)

    hear(database, bench, onset_ms=MENDED_MS + 1, decided_ms=MENDED_MS + HOUR_MS)

    (job,) = active_jobs(database.rows)
    assert job.work.onset_ms == MENDED_MS + 1


@pytest.mark.parametrize(
    "other",
    [
        {"series": "feature/wind", "feature": "wind"},
        {"series": "schema", "feature": None, "cause": "schema"},
        {"model": "n"},
        {"version": "2"},
        {"drill": True},
        {"kind": "volume", "series": "volume", "feature": None},
    ],
)
def test_what_is_no_broken_data_of_the_feature_stands_in_no_ones_way(
    database: Database, bench: Bench, other: dict[str, Any]
) -> None:
    hear(database, bench, **MISSING | other)

    assert hear(database, bench).action == "ask"


@pytest.mark.parametrize(
    "drift",
    [
        {"kind": "data", "series": "relation/temp~wind", "feature": None},
        {"kind": "prediction", "series": "prediction", "feature": None},
        {"kind": "concept", "series": "loss", "feature": None},
    ],
)
def test_drift_of_no_single_feature_asks_beside_broken_data(
    database: Database, bench: Bench, drift: dict[str, Any]
) -> None:
    hear(database, bench, **MISSING)

    assert hear(database, bench, **drift).action == "ask"


@pytest.mark.parametrize(
    ("broken", "drifting", "action"),
    [
        (None, "origin=EWR", "refuse"),
        ("origin=EWR", None, "refuse"),
        ("origin=EWR", "origin=EWR", "refuse"),
        ("origin=EWR", "carrier=UA", "refuse"),
        ("origin=EWR", "origin=JFK", "ask"),
    ],
)
def test_segments_are_beside_each_other_where_an_event_may_lie_in_both(
    database: Database, bench: Bench, broken: str | None, drifting: str | None, action: str
) -> None:
    hear(database, bench, **MISSING | {"segment": broken})

    assert hear(database, bench, segment=drifting).action == action


def test_all_broken_data_beside_the_drift_must_be_mended(database: Database, bench: Bench) -> None:
    hear(database, bench, **MISSING)
    hear(database, bench, **MISSING | {"alert_id": "r", "episode_id": "r", "cause": "constant"})
    hear(database, bench)
    hear(database, bench, **MENDED)
    assert later(database, bench) == [None]

    hear(database, bench, **MENDED | {"alert_id": "r-over", "episode_id": "r"})

    assert [d.action for d in later(database, bench) if d is not None] == ["ask"]


def test_an_end_nobody_told_is_over_where_the_next_break_of_that_kind_begins(
    database: Database, bench: Bench
) -> None:
    """State was lost meanwhile: the episode was rebuilt under another id."""
    again = {"alert_id": "q2", "episode_id": "q2", "onset_ms": NOW_MS - HOUR_MS + 1}
    hear(database, bench, **MISSING)
    hear(database, bench, **MISSING | again)
    hear(database, bench, **MENDED | again | {"alert_id": "q2-over"})

    assert hear(database, bench, decided_ms=MENDED_MS + 1).action == "ask"


def test_what_waited_for_a_job_waits_on_while_its_data_are_broken(
    database: Database, bench: Bench
) -> None:
    hear(database, bench, alert_id="b", episode_id="f", kind="concept", feature=None)
    assert hear(database, bench).rule == "already_running"
    hear(database, bench, **MISSING)
    with database.transaction() as rows:
        (running,) = active_jobs(rows)
        move(rows, running, running.ended("gave_up"))
    assert later(database, bench, WALL_MS + 999 * HOUR_MS) == [None]

    hear(database, bench, **MENDED)

    assert [d.action for d in later(database, bench) if d is not None] == ["ask"]


@given(st.lists(st.tuples(st.sampled_from("qr"), st.sampled_from(get_args(Phase))), max_size=8))
@settings(max_examples=40, deadline=None)
def test_an_episode_is_open_from_any_word_of_it_to_its_end_in_any_order_with_any_repeats(
    told: list[tuple[str, Phase]],
) -> None:
    with TemporaryDirectory() as home, closing(Database(Path(home))) as database:
        with database.transaction() as rows:
            for episode_id, phase in told:
                note_quality(rows, alert(**MISSING | {"episode_id": episode_id, "phase": phase}))
        found = quality_beside(database.rows, alert())

    over = {one for one, phase in told if phase in ("recovered", "superseded", "resolved")}
    assert {one.episode_id for one in found} == {one for one, _ in told}
    assert {one.episode_id for one in found if one.end_ms is not None} == over
