"""Drift of a feature whose data are broken waits until they are mended."""

from __future__ import annotations

import math
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, get_args

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_monitor.contracts import Phase
from stream_monitor.reference.bounds import ValueBounds
from stream_monitor.reference.feature_reference import FeatureReference
from stream_monitor.reference.fit import fit_feature
from tests.builders import alert
from tests.hypothesis_profiles import examples
from tests.unit.trainer_alerts import (
    HOUR_MS,
    MENDED,
    MENDED_MS,
    MISSING,
    NOW_MS,
    WALL_MS,
    events,
    later,
    receive_alert,
)
from trainer.jobs.database import Database
from trainer.jobs.job_store import (
    active_jobs,
    excluded_ranges_of,
    record_excluded_range,
    transition,
)
from trainer.jobs.quality_episodes import quality_episodes_of, record_quality_episode
from trainer.service.context import TrainerContext


@pytest.mark.parametrize("cause", [None, "constant", "unit_change"])
@pytest.mark.parametrize("severity", ["low", "medium", "high"])
def test_drift_is_declined_with_the_reason_while_the_data_of_its_feature_are_broken(
    database: Database, context: TrainerContext, cause: str | None, severity: str
) -> None:
    receive_alert(database, context, **MISSING | {"cause": cause, "severity": severity})

    decision = receive_alert(database, context)

    assert (decision.action, decision.rule) == ("decline", "data_quality_open")
    reported = events(database)[-1]
    assert (reported.step, reported.rule, reported.caused_by) == (
        "declined",
        "data_quality_open",
        "a",
    )
    assert "temp: missing 1 % → 9 %" in reported.reason
    assert reported.numbers["quality_episode"] == "q"
    assert reported.numbers["quality_onset_ms"] == NOW_MS - HOUR_MS
    assert reported.numbers["effect"] == 0.2


@pytest.mark.parametrize("phase", ["recovered", "resolved", "superseded"])
def test_a_declined_alert_is_decided_again_after_the_repair_and_labels_count_from_it(
    database: Database, context: TrainerContext, phase: str
) -> None:
    receive_alert(database, context, **MISSING)
    receive_alert(database, context)
    assert later(database, context, WALL_MS + 999 * HOUR_MS) == [None]

    receive_alert(database, context, **MENDED | {"phase": phase})
    (decision,) = later(database, context)

    assert decision is not None
    assert (decision.action, decision.numbers["labels_since_ms"]) == ("request", MENDED_MS)
    (job,) = active_jobs(database.rows)
    assert (job.caused_by, job.work.onset_ms, job.work.onset_offset) == ("a/later", MENDED_MS, 1)
    assert later(database, context) == [None]


def test_drift_that_goes_with_the_broken_data_is_never_retrained_on(
    database: Database, context: TrainerContext
) -> None:
    receive_alert(database, context, **MISSING)
    receive_alert(database, context)
    receive_alert(database, context, alert_id="over", phase="recovered")
    receive_alert(database, context, **MENDED)

    assert later(database, context, WALL_MS + 999 * HOUR_MS) == []
    assert active_jobs(database.rows) == []


def test_drift_reported_after_broken_data_trains_on_later_events(
    database: Database, context: TrainerContext
) -> None:
    receive_alert(database, context, **MISSING)
    receive_alert(database, context, **MENDED)

    assert receive_alert(database, context, decided_ms=MENDED_MS + 1).action == "request"
    (job,) = active_jobs(database.rows)
    assert job.work.onset_ms == MENDED_MS


def test_data_repaired_before_the_drift_decline_no_retrain(
    database: Database, context: TrainerContext
) -> None:
    receive_alert(database, context, **MISSING)
    receive_alert(database, context, **MENDED)

    receive_alert(database, context, onset_ms=MENDED_MS + 1, decided_ms=MENDED_MS + HOUR_MS)

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
def test_quality_episodes_of_other_features_decline_no_retrain(
    database: Database, context: TrainerContext, other: dict[str, Any]
) -> None:
    receive_alert(database, context, **MISSING | other)

    assert receive_alert(database, context).action == "request"


@pytest.mark.parametrize(
    "drift",
    [
        {"kind": "data", "series": "relation/temp~wind", "feature": None},
        {"kind": "concept", "series": "loss", "feature": None},
    ],
)
def test_drift_of_no_single_feature_requests_a_retrain_despite_broken_data(
    database: Database, context: TrainerContext, drift: dict[str, Any]
) -> None:
    receive_alert(database, context, **MISSING)

    assert receive_alert(database, context, **drift).action == "request"


@pytest.mark.parametrize(
    ("broken", "drifting", "action"),
    [
        (None, "origin=EWR", "decline"),
        ("origin=EWR", None, "decline"),
        ("origin=EWR", "origin=EWR", "decline"),
        ("origin=EWR", "carrier=UA", "decline"),
        ("origin=EWR", "origin=JFK", "request"),
    ],
)
def test_segments_overlap_where_an_event_may_lie_in_both(
    database: Database,
    context: TrainerContext,
    broken: str | None,
    drifting: str | None,
    action: str,
) -> None:
    receive_alert(database, context, **MISSING | {"segment": broken})

    assert receive_alert(database, context, segment=drifting).action == action


def test_all_quality_episodes_of_the_feature_must_end_first(
    database: Database, context: TrainerContext
) -> None:
    receive_alert(database, context, **MISSING)
    receive_alert(
        database, context, **MISSING | {"alert_id": "r", "episode_id": "r", "cause": "constant"}
    )
    receive_alert(database, context)
    receive_alert(database, context, **MENDED)
    assert later(database, context) == [None]

    receive_alert(database, context, **MENDED | {"alert_id": "r-over", "episode_id": "r"})

    assert [d.action for d in later(database, context) if d is not None] == ["request"]


def test_an_unreported_end_is_at_the_start_of_the_next_break_of_that_kind(
    database: Database, context: TrainerContext
) -> None:
    """State was lost meanwhile: the episode was rebuilt under another id."""
    again = {"alert_id": "q2", "episode_id": "q2", "onset_ms": NOW_MS - HOUR_MS + 1}
    receive_alert(database, context, **MISSING)
    receive_alert(database, context, **MISSING | again)
    receive_alert(database, context, **MENDED | again | {"alert_id": "q2-over"})

    assert receive_alert(database, context, decided_ms=MENDED_MS + 1).action == "request"


def test_a_request_that_waited_for_a_job_waits_while_its_data_are_broken(
    database: Database, context: TrainerContext
) -> None:
    receive_alert(database, context, alert_id="b", episode_id="f", kind="concept", feature=None)
    assert receive_alert(database, context).rule == "already_running"
    receive_alert(database, context, **MISSING)
    with database.transaction() as rows:
        (running,) = active_jobs(rows)
        transition(rows, running, running.ended("gave_up"))
    of_feature, of_concept = later(database, context, WALL_MS + 999 * HOUR_MS)
    assert (of_concept and of_concept.rule, of_feature) == ("episode_decided", None)

    receive_alert(database, context, **MENDED)

    assert [d.action for d in later(database, context) if d is not None] == ["request"]


@given(st.lists(st.tuples(st.sampled_from("qr"), st.sampled_from(get_args(Phase))), max_size=8))
@settings(max_examples=examples(40))
def test_an_episode_is_open_from_any_word_of_it_to_its_end_in_any_order_with_any_repeats(
    reported: list[tuple[str, Phase]],
) -> None:
    with TemporaryDirectory() as data_dir, closing(Database(Path(data_dir))) as database:
        with database.transaction() as rows:
            for episode_id, phase in reported:
                record_quality_episode(
                    rows, alert(**MISSING | {"episode_id": episode_id, "phase": phase})
                )
        found = quality_episodes_of(database.rows, alert())

    over = {one for one, phase in reported if phase in ("recovered", "superseded", "resolved")}
    assert {one.episode_id for one in found} == {one for one, _ in reported}
    assert {one.episode_id for one in found if one.end_ms is not None} == over


WITHOUT_BOUNDS: Final = msgspec.structs.replace(fit_feature("temp", np.arange(500.0)), bounds=None)
TEMPERATURES: Final = msgspec.structs.replace(
    WITHOUT_BOUNDS, bounds=ValueBounds(low=-20.0, high=120.0)
)
NAMES: Final = fit_feature("temp", ["warm", "cold"] * 500)


@pytest.mark.parametrize(
    ("cause", "repeated", "reference", "valid"),
    [
        (None, None, None, []),
        (None, None, TEMPERATURES, [5.0, 7, 999.0]),
        (None, None, NAMES, ["a new name", 5.0, 7, 999.0]),
        ("odd_values", None, None, []),
        ("odd_values", None, WITHOUT_BOUNDS, []),
        ("odd_values", None, TEMPERATURES, [5.0, 7]),
        ("odd_values", 5.0, TEMPERATURES, [7]),
        ("odd_values", -999.0, TEMPERATURES, [5.0, 7]),
        ("constant", None, TEMPERATURES, []),
        ("unit_change", None, TEMPERATURES, []),
    ],
)
def test_only_events_without_a_valid_value_are_excluded_where_the_other_values_are_as_before(
    database: Database,
    cause: str | None,
    repeated: float | None,
    reference: FeatureReference | None,
    valid: list[object],
) -> None:
    broken = alert(**MISSING | {"severity": "high", "cause": cause, "after": repeated})
    with database.transaction() as rows:
        record_excluded_range(rows, broken)
        record_quality_episode(rows, broken)

    references = {} if reference is None else {"temp": reference}
    (found,) = excluded_ranges_of(database.rows, broken.model, lambda _version: references)

    for value in ("a new name", 5.0, 7, 999.0, None, math.nan, -math.inf):
        covered = found.covers(broken.onset_ms, broken.version, {"temp": value})
        assert covered == (value not in valid), value
    assert found.covers(broken.onset_ms, broken.version)
