from __future__ import annotations

from typing import Any

import msgspec
import pytest

from driftline.demo.monthly_errors import ErrorRates
from driftline.demo.reconciliation import (
    EventTopicCounts,
    MissingRecords,
    PartitionCounts,
    Seconds,
    ServerCounts,
    count_missing,
    episodes_by_phase,
    is_unit_break,
    summary,
    unique_alerts,
)
from driftline.demo.scenario import INCIDENT_MS
from driftline.topics.topic_reader import Record
from producer.events import CE_TYPE_OF, InferenceEvent, Label, ModelUpdate, Tick
from stream_monitor.contracts import DriftAlert
from stream_monitor.core.counters import Counters
from tests.builders import alert, inference_event


def record(offset: int, event: InferenceEvent | Label | ModelUpdate | Tick) -> Record:
    return Record(0, offset, CE_TYPE_OF[type(event)], msgspec.json.encode(event))


def predicted(n: int, score: float) -> InferenceEvent:
    return inference_event(f"f{n}", {"a": 1.0}, score, time_ms=n)


def truth(n: int, label: int) -> Label:
    return Label(id=f"f{n}", model="m", label=label, time_ms=n + 10)


def log_of(*events: InferenceEvent | Label | ModelUpdate | Tick) -> EventTopicCounts:
    log = EventTopicCounts()
    for offset, event in enumerate(events):
        log.take(record(offset, event))
    return log


def unit_alert(**changes: Any) -> DriftAlert:
    """The alert of the demo's incident: the temperature came in another unit."""
    return alert(
        **{
            "kind": "quality",
            "severity": "high",
            "series": "f:temp",
            "cause": "unit_change",
            "detected_ms": INCIDENT_MS[0] + 1,
        }
        | changes
    )


FULL = (
    ModelUpdate(id="u", model="m", version="1", time_ms=0),
    predicted(1, 0.9),
    predicted(2, 0.2),
    truth(1, 1),
    truth(2, 1),
    Tick(time_ms=5),
)
ALL = ServerCounts(events=2, labels=2, acknowledged=4, dropped=0)
DONE = {0: PartitionCounts(6, Counters(control=1, valid=2, labels=2, ticks=1, joined=2))}


def test_an_undisturbed_run_lost_nothing() -> None:
    assert count_missing(ALL, log_of(*FULL), DONE, 0, 0) == MissingRecords(0, 0, 0, 0)


def test_an_event_that_was_written_but_not_read_is_lost() -> None:
    assert count_missing(ALL, log_of(*FULL[:4], FULL[5]), DONE, 0, 0).never_written == 1


def test_events_that_the_logger_dropped_are_lost_too() -> None:
    written = ServerCounts(events=3, labels=2, acknowledged=4, dropped=1)
    assert count_missing(written, log_of(*FULL), DONE, 0, 0).never_written == 1


def test_a_repeat_does_not_hide_a_loss() -> None:
    log = log_of(*FULL[:3], predicted(2, 0.2), FULL[3], FULL[5])
    assert log.repeats == 1
    assert count_missing(ALL, log, DONE, 0, 0).never_written == 1


def test_records_above_the_next_offset_are_lost_but_a_tick_is_not() -> None:
    early = {0: PartitionCounts(4, Counters(control=1, valid=2, labels=1))}
    assert count_missing(ALL, log_of(*FULL), early, 0, 0) == MissingRecords(0, 1, 0, 0)
    before_the_tick = {0: PartitionCounts(5, Counters(control=1, valid=2, labels=2))}
    assert count_missing(ALL, log_of(*FULL), before_the_tick, 0, 0).total == 0


def test_a_tick_that_the_monitor_processed_after_the_reader_is_read_before_the_comparison() -> None:
    log = log_of(*FULL[:5])
    assert log.holds(ALL)
    assert not log.reaches(DONE)
    assert count_missing(ALL, log, DONE, 0, 0).uncounted == 1  # would be a false loss

    log.take(record(5, FULL[5]))
    assert log.reaches(DONE)
    assert count_missing(ALL, log, DONE, 0, 0).total == 0


@pytest.mark.parametrize("valid", [1, 3])
def test_records_that_no_counter_counts_or_two_do_are_lost(valid: int) -> None:
    wrong = {0: PartitionCounts(6, Counters(control=1, valid=valid, labels=2, ticks=1))}
    assert count_missing(ALL, log_of(*FULL), wrong, 0, 0).uncounted == 1


def test_a_partition_without_an_owner_is_entirely_unread() -> None:
    assert count_missing(ALL, log_of(*FULL), {}, 0, 0).unread == 5


def test_unpublished_alerts_and_dead_letters_are_lost() -> None:
    counters = Counters(control=1, valid=1, dead_lettered=1, labels=2, ticks=1, alerts=2)
    state = {0: PartitionCounts(6, counters)}
    assert count_missing(ALL, log_of(*FULL), state, 1, 0).alerts == 2
    assert count_missing(ALL, log_of(*FULL), state, 2, 1).total == 0


def test_a_record_of_an_unknown_kind_is_rejected() -> None:
    with pytest.raises(ValueError, match="0:7: a record of kind None"):
        EventTopicCounts().take(Record(0, 7, None, b"{}"))


def test_alerts_count_once_and_episodes_by_phase() -> None:
    found = unique_alerts(
        [
            unit_alert(),
            unit_alert(),
            unit_alert(alert_id="a2", phase="ongoing"),
            unit_alert(alert_id="a3", phase="recovered"),
            unit_alert(alert_id="a4", episode_id="e2"),
        ]
    )
    assert len(found) == 4
    assert episodes_by_phase(found) == {"started": 2, "recovered": 1, "superseded": 0}


@pytest.mark.parametrize(
    "change",
    [
        {"cause": None},
        {"feature": "dewp"},
        {"detected_ms": INCIDENT_MS[1]},
        {"detected_ms": INCIDENT_MS[0] - 1},
        {"phase": "recovered"},
    ],
)
def test_the_incident_is_found_by_cause_feature_and_time(change: dict[str, Any]) -> None:
    assert is_unit_break(unit_alert())
    assert not is_unit_break(unit_alert(**change))


def test_the_summary_has_the_shape_others_rely_on() -> None:
    log = log_of(*FULL)
    made = summary(
        "Apache Kafka 4.3.1",
        log,
        list(DONE.values()),
        [unit_alert()],
        0,
        MissingRecords(0, 0, 0, 0),
        {"requested": 1, "promoted": 1, "scheduled": 10},
        ErrorRates(2, 0.5, 0.375, 0.25),
        Seconds(12.34, 61.06),
    )
    assert made == {
        "broker": "Apache Kafka 4.3.1",
        "events": {"produced": 2, "processed": 2, "dead_lettered": 0, "lost": 0},
        "labels": {"produced": 2, "joined": 2},
        "episodes": {"started": 1, "recovered": 0, "superseded": 0},
        "alerts": 1,
        "unit_break_found": True,
        "retrains": {"requested": 1, "promoted": 1, "scheduled": 10},
        "error_rate": {"frozen": 0.5, "scheduled": 0.375, "driftline": 0.25},
        "seconds": {"first_alert": 12.3, "total": 61.1},
    }
