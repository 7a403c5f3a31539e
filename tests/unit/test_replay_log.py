"""A replay of recorded events returns what the monitor reported for them, and nothing else."""

from __future__ import annotations

import random
from collections.abc import Iterable

import msgspec
import numpy as np
import pytest

from driftline.cli.replay_table import RecordedTraffic, reference_of_replay
from driftline.offline.replay.replay_report import version_lines
from driftline.offline.replay.topic_range import topic_range_of
from driftline.offline.replay.topic_replay import TopicReplay, replay_topic
from driftline.offline.replay.topic_table import TopicRecords, topic_table_of
from driftline.offline.tables.read_options import DEFAULT_READ_OPTIONS
from driftline.offline.tables.source_error import SourceError
from driftline.offline.tables.table_reader import table_of
from driftline.topics.topic_reader import Record
from producer.codec import RejectedRecord, decode, encode
from producer.events import CE_TYPE_OF, Command, Event, InferenceEvent, Label, ModelUpdate, Tick
from stream_monitor.contracts import DriftAlert
from stream_monitor.core.partition import PartitionMonitor
from stream_monitor.core.spec import MonitorSpec
from stream_monitor.detectors.calibration import Budget
from stream_monitor.ingest.records import ConsumerRecord
from stream_monitor.reference.fit import fit_profile
from stream_monitor.reference.profile import profile_to_data
from tests.builders import inference_event
from tests.properties.partition_logs import SPEC, TOPIC, batch_of
from tests.properties.partition_logs import log_of as partition_log

SEEDS = (1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 3)))


def of(partition: int, records: Iterable[ConsumerRecord]) -> list[Record]:
    return [Record(partition, r.offset, r.kind, r.value, None, r.timestamp_ms) for r in records]


def record(offset: int, event: Event | bytes, partition: int = 0) -> Record:
    raw = event if isinstance(event, bytes) else encode(event)
    kind = None if isinstance(event, bytes) else CE_TYPE_OF[type(event)]
    return Record(partition, offset, kind, raw, None, 1_000 * offset)


def event(i: int, version: str = "1", mean: float = 0.0, model: str = "m") -> InferenceEvent:
    x = mean + np.random.default_rng(i).standard_normal()
    return inference_event(
        f"{model}{i}", {"x": float(x)}, model=model, version=version, time_ms=1_000 * i
    )


def announced(version: str, mean: float) -> ModelUpdate:
    normal = mean + np.random.default_rng(9).standard_normal(2_000)
    made = fit_profile("m", version, {"x": normal}, task="regression", origin="training")
    return ModelUpdate(
        id=f"u{version}", model="m", version=version, time_ms=0, profile=profile_to_data(made)
    )


def replayed(records: list[Record], updates: Iterable[Record] = ()) -> TopicReplay:
    return replay_topic(
        topic_range_of(TopicRecords(records, list(updates)), "m", "log"), MonitorSpec()
    )


def of_another(log: list[ConsumerRecord]) -> list[ConsumerRecord]:
    """The same records of another model, at offsets that are free between them."""
    found = []
    for one in log[:600]:
        try:
            event = decode(one.value or b"", one.kind)
        except RejectedRecord:
            continue
        if isinstance(event, InferenceEvent | Label):
            raw = encode(msgspec.structs.replace(event, model="other"))
            kind = CE_TYPE_OF[type(event)]
            found.append(ConsumerRecord(one.offset - 1, one.timestamp_ms, kind, raw))
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_a_replay_gives_the_alerts_of_the_monitor(seed: int) -> None:
    """Two partitions, with labels, updates, commands, ticks, poison, and another model between."""
    monitor_alerts: list[DriftAlert] = []
    records: list[Record] = []
    for partition in (0, 3):
        mine = partition_log(seed + partition)
        taken = {one.offset for one in mine}
        others = [one for one in of_another(mine) if one.offset not in taken]
        log = sorted([*mine, *others], key=lambda one: one.offset)
        monitor = PartitionMonitor(TOPIC, partition, SPEC)
        seen = monitor.observe(batch_of(log)._replace(partition=partition))
        monitor_alerts += [alert for alert in seen.alerts if alert.model == "churn"]
        records += of(partition, log)
    random.Random(seed).shuffle(records)  # noqa: S311

    replay = replay_topic(topic_range_of(TopicRecords(records, []), "churn", TOPIC), SPEC)

    assert sorted(replay.alerts, key=_place) == sorted(monitor_alerts, key=_place)
    assert {"data", "volume"} <= {episode.kind for episode in replay.episodes}
    assert {episode.kind for episode in replay.coverage_episodes} == {"coverage"}
    rows = [episode.alerted_event for episode in replay.episodes]
    assert rows == sorted(rows)
    assert {dead_letter.partition for dead_letter in replay.rejected} == {0, 3}


def _place(alert: DriftAlert) -> tuple[int, int, str]:
    return alert.partition, alert.decided_offset, alert.alert_id


def test_each_version_is_compared_with_its_own_reference() -> None:
    """What would be drift of the one is normal for the other."""
    events = [event(i, "1") for i in range(3_000)]
    later = [event(i, "2", mean=5.0) for i in range(3_000, 6_000)]
    log: list[Event] = [announced("1", 0.0), *events, announced("2", 5.0), *later]
    records = [record(offset, one) for offset, one in enumerate(log)]

    replay = replayed(records)

    assert replay.episodes == []
    assert [(v.version, v.watched, v.reference) for v in replay.versions] == [
        ("1", 3_000, "training"),
        ("2", 3_000, "training"),
    ]
    moved = replayed(
        [*records, *(record(7_000 + i, event(7_000 + i, "2", 6.0)) for i in range(900))]
    )
    (episode,) = moved.episodes
    assert 6_000 <= episode.alerted_event < 6_900
    assert episode.explanation.startswith("`x`: mean 5.02 → ")


def test_a_range_begins_with_what_was_announced_before_it() -> None:
    """A version is watched though another one was announced after it; as it was live."""
    events = [record(i, event(i, mean=1.0)) for i in range(10, 2_510)]
    before = [record(3, announced("1", 0.0)), record(5, event(0, model="other"))]

    replay = replayed(events, before)
    another = replayed(events, [*before, record(6, announced("2", 0.0))])

    (episode,) = replay.episodes
    assert episode.onset_event < 400
    assert replay.versions == [("1", 2_500, 2_500, "training", 2_000, None)]
    assert another.versions == replay.versions
    assert [one.onset_event for one in another.episodes] == [episode.onset_event]


def test_a_version_without_a_profile_learns_from_its_first_events() -> None:
    replay = replayed([record(i, event(i)) for i in range(3_000)])

    (version,) = replay.versions
    assert version == ("1", 3_000, 1_000, "warm_up", 2_000, 604_800.0)
    assert (replay.n_events, replay.n_reference, replay.n_features) == (1_000, 2_000, 1)
    with pytest.raises(SourceError, match="there are fewer than 2,000 events to learn one from"):
        replayed([record(i, event(i)) for i in range(2_000)])


def test_a_version_with_two_kinds_of_reference_is_listed_by_each() -> None:
    """One partition has the announced profile, one learns its own, one has too few to do so."""
    log: list[Event] = [announced("1", 0.0), *(event(i) for i in range(300))]
    records = [record(offset, one) for offset, one in enumerate(log)]
    records += [record(i, event(i), 1) for i in range(2_500)]
    records += [record(i, event(i), 2) for i in range(10)]

    replay = replayed(records)

    assert replay.versions == [
        ("1", 300, 300, "training", 2_000, None),
        ("1", 2_500, 500, "warm_up", 2_000, 604_800.0),
        ("1", 10, 0, None, 0, None),
    ]
    first, second, third = version_lines(replay, "m", Budget())
    assert first == "  m@1, announced profile: 300 of 300 events compared with 2,000"
    assert second == "  m@1, its own first events: 500 of 2,500 events compared with 2,000"
    assert third.startswith("  m@1, no profile, and too few events")
    weekly = version_lines(replay, "m", Budget(per_weeks=2.0))
    assert weekly[0].endswith("and profile send)")
    assert weekly[1].endswith("; 1 in 1,209,600 events, at 604,800 a week in the reference")
    assert weekly[2] == third


def test_an_event_is_a_row_once_whichever_partition_holds_it() -> None:
    records = [
        record(1, event(1), 0),
        record(2, event(2), 1),
        record(3, event(2), 1),
        record(4, event(3, model="other"), 1),
        record(5, b"{", 1),
        record(6, event(4), 1),
        record(7, Label(id="m4", model="m", label=1, time_ms=0), 1),
        record(8, event(5), 0),
        record(9, event(6, model="other"), 2),
    ]

    zero, one = topic_range_of(TopicRecords(records, []), "m", "log").parts

    assert (zero.rows, one.rows) == ([0, 3], [1, 2])
    assert [one.row(offset) for offset in (1, 2, 3, 5, 6, 7)] == [1, 1, 1, 1, 2, 2]
    kinds = [r.kind == CE_TYPE_OF[Tick] for r in one.records]
    assert kinds == [False, False, True, False, False, False]
    assert one.kinds == {CE_TYPE_OF[InferenceEvent]: 3, CE_TYPE_OF[Label]: 1}


def test_two_versions_that_score_the_same_events_are_both_listed() -> None:
    """A champion and its canary; what repeats an event is none."""
    scored = [record(2 * i + j, event(i, v)) for i in range(5) for j, v in enumerate("12")]

    log = topic_range_of(TopicRecords([*scored, record(10, event(4, "2"))], []), "m", "log")

    (part,) = log.parts
    assert part.n_events == {"1": 5, "2": 5}
    assert part.rows == list(range(10))


def test_an_ambiguous_model_is_an_error() -> None:
    mine = [record(i, event(i)) for i in range(5)]
    shadow = record(9, event(9, model="m:drill-0123456789ab"))
    other = record(8, event(8, model="other"))
    forget = Command(id="c", model="x", action="forget", episode="", actor="a", time_ms=0)

    assert (
        topic_range_of(TopicRecords([*mine, shadow, record(10, forget)], []), None, "log").model
        == "m"
    )
    with pytest.raises(SourceError, match="log has 2 models"):
        topic_range_of(TopicRecords([*mine, other], []), None, "log")
    with pytest.raises(SourceError, match="log has no event of 'n'"):
        topic_range_of(TopicRecords([*mine, other], []), "n", "log")
    with pytest.raises(SourceError, match="log has no event"):
        topic_range_of(TopicRecords([record(1, Tick(time_ms=0))], []), None, "log")


def test_a_topic_as_columns_lists_what_is_left_out() -> None:
    records = [record(i, event(i, version=str(1 + i % 2))) for i in range(1, 900)]
    found = TopicRecords([record(0, announced("2", 0.0)), *records], [])

    frame, in_force, versions = topic_table_of(found, "m", "log")
    roles = ("time_ms", "prediction", None)
    traffic = RecordedTraffic(
        "topic:log", table_of(frame, "log"), roles, in_force, tuple(versions), is_topic=True
    )
    description = reference_of_replay(traffic, None, None, DEFAULT_READ_OPTIONS, None).description

    assert description.startswith(
        "m@2, as announced on the topic; events of versions 1, 2 are compared with"
    )
    assert "silence and volume are not checked" in description
