"""Alerts of a drill are marked, and excluded from the figures of real models."""

from __future__ import annotations

import msgspec

from driftline.cli import alerts, incidents
from driftline.monitor_state.served_profile import (
    known_models,
    leftover_synthetic_models,
    served_profile,
)
from driftline.offline.replay.topic_table import TopicRecords, topic_table_of
from driftline.topics.alert_history import open_alerts
from driftline.topics.topic_reader import Record
from producer.codec import encode
from producer.events import CE_TYPE_OF, Command, InferenceEvent
from producer.synthetic import synthetic_name
from stream_monitor.core.control_records import announced_profile
from stream_monitor.core.model import ModelMonitor
from stream_monitor.core.partition import PartitionMonitor
from stream_monitor.core.stored_versions import versions_in
from stream_monitor.episodes.incidents import incidents_of
from stream_monitor.metrics import Metrics
from stream_monitor.state.partition_state import PartitionState
from stream_monitor.state.redis_store import partition_key
from tests.builders import alert, inference_event, stored
from tests.properties.partition_logs import SPEC, TOPIC, batch_of, events_of
from tests.properties.test_forget_command_laws import SHADOW, record_at, update_of, with_drill
from tests.unit.redis_hashes import RedisHashes


def alerted_state() -> PartitionState:
    monitor = PartitionMonitor(TOPIC, 0, SPEC)
    events = events_of(2, 700)
    first = record_at(events[0].offset - 1, 0, update_of("churn", 2))
    monitor.observe(batch_of([first, *events]))
    last = events[-1]
    monitor.observe(batch_of([record_at(last.offset + 1, last.timestamp_ms, update_of(SHADOW, 2))]))
    return PartitionState(monitor, "p")


def test_lines_of_alerts_and_incidents_are_marked_as_a_drill() -> None:
    drill = alert(model=SHADOW, drill=True)

    assert "m@1  temp: moved" in alerts.line_of(alert())
    assert f"{SHADOW}@1  DRILL temp: moved" in alerts.line_of(drill)
    assert "DRILL" in incidents.line_of(incidents_of([drill])[0])
    assert "DRILL" not in incidents.line_of(incidents_of(open_alerts([alert()]))[0])


def test_metrics_leave_out_drills() -> None:
    metrics, drilled = Metrics(), PartitionState(PartitionMonitor(TOPIC, 3, SPEC), "p")
    records = with_drill(3, events_of(3, 2_600))
    ends = next(i for i, r in enumerate(records) if r.kind == CE_TYPE_OF[Command])
    drilled.observe(batch_of(records[:ends]))
    metrics.watch(lambda: [(3, drilled)])
    metrics.observed([alert(model=SHADOW, drill=True), alert(model="churn")], [])
    text = metrics.text().decode()

    assert SHADOW in drilled.monitor.models
    assert 'driftline_drift_state{model="churn"' in text
    assert 'driftline_coverage_ratio{model="churn"' in text
    assert 'driftline_alerts_total{detector="adwin",model="churn"' in text
    assert SHADOW not in text


def test_the_windows_of_a_shadow_are_not_published() -> None:
    records = with_drill(3, events_of(3, 2_600))
    fold = PartitionState(PartitionMonitor(TOPIC, 0, SPEC), "p")
    monitor = PartitionMonitor(TOPIC, 0, SPEC)

    published = [name for name in fold.observe(batch_of(records)).outbox if "window" in name]
    closed = {window.model for window in monitor.observe(batch_of(records)).windows}

    assert closed == {"churn", SHADOW}
    assert published
    assert not [name for name in published if SHADOW in name]


def test_a_topic_with_drills_has_one_model() -> None:
    def record(offset: int, model: str) -> Record:
        event = inference_event(f"e{offset}", {"a": 1.0}, model=model, time_ms=offset)
        return Record(0, offset, CE_TYPE_OF[InferenceEvent], encode(event))

    records = TopicRecords([record(0, "churn"), record(1, SHADOW), record(2, "churn")], [])

    assert len(topic_table_of(records, None, "t", profiled=False).frame) == 2
    assert len(topic_table_of(records, SHADOW, "t", profiled=False).frame) == 1


def test_the_reference_of_the_serving_version_is_read_from_what_is_stored() -> None:
    fold = alerted_state()
    redis = RedisHashes({partition_key(TOPIC, 0): fold.take_changes()})

    assert known_models(redis, TOPIC, 0) == {"churn", SHADOW}
    assert leftover_synthetic_models(redis, TOPIC, [0], "churn") == [(0, SHADOW)]
    assert leftover_synthetic_models(redis, TOPIC, [0], "chur") == []
    profile = served_profile(redis, TOPIC, [0, 1], "churn")
    assert profile == fold.monitor.models["churn"].versions["1"].profile


def test_the_champion_is_marked_among_the_versions() -> None:
    model = ModelMonitor(TOPIC, 0, "churn", SPEC)
    first = update_of("churn", 2)
    second = msgspec.structs.replace(
        first, id="u2", version="2", profile={**(first.profile or {}), "version": "2"}
    )
    model.update(first, announced_profile(first), 5, 0)
    model.update(second, announced_profile(second), 9, 0)

    found = versions_in(stored(model.take_changes()))

    assert [(v.profile.version, v.champion, v.start_offset) for v in found] == [
        ("1", False, 5),
        ("2", True, 9),
    ]


def test_names_of_two_drills_differ() -> None:
    assert synthetic_name("m", "0" * 12) != synthetic_name("m", "1" * 12)
