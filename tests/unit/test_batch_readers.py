"""Every reader of the event topic reads batches: each row is an event, in its place."""

from __future__ import annotations

import msgspec
import pytest
from confluent_kafka import Producer

from driftline.offline.replay.topic_range import topic_range_of
from driftline.offline.replay.topic_replay import replay_topic
from driftline.offline.replay.topic_table import TopicRecords, topic_table_of
from driftline.topics.dead_letter_queue import original_of, reason_not_accepted, records_of_rows
from driftline.topics.topic_reader import Record
from producer.arrow_batch import BATCH_CE_TYPE, batch_headers, pack
from producer.cloudevents import event_headers
from producer.codec import RejectedRecord, decode, encode
from producer.events import CE_TYPE_OF, InferenceEvent, Label
from producer.limits import Limits
from stream_monitor.core.partition import PartitionMonitor
from stream_monitor.ingest.event_columns import events_in
from stream_monitor.ingest.records import ConsumerRecord, RecordBatch
from stream_monitor.runtime.reader import parts_of
from tests.builders import dead_letter, inference_event
from tests.properties.partition_logs import SPEC, TOPIC, batch_of, log_of
from tests.properties.test_event_batch_laws import both_logs
from trainer.dataset.collector import Collector
from trainer.dataset.event_follower import EventFollower, FollowedRecord
from trainer.dataset.range_reader import RangeReader, ReadRange

NOON = 1_711_800_000_000


def event(number: int, **changes: object) -> InferenceEvent:
    plain = inference_event(f"e{number}", {"x": number / 2}, time_ms=NOON + number)
    return msgspec.structs.replace(plain, **changes)


def fill(servers: str) -> None:
    """A batch of three events, one of them from the future, a single event, and a label."""
    rows = [event(0), event(1, time_ms=NOON * 2), event(2)]
    label = Label(id="e2", model="m", label=1, time_ms=NOON)
    producer = Producer({"bootstrap.servers": servers})
    for value, headers in (
        (pack(rows).value, batch_headers("b", "/s")),
        (encode(event(3)), event_headers(event(3), source="/s")),
        (encode(label), event_headers(label, source="/s")),
    ):
        producer.produce(TOPIC, value, partition=0, headers=headers, timestamp=NOON + 10, key="m")
        producer.flush(10)


def test_the_trainer_reads_the_rows_of_a_range(mock_broker: str) -> None:
    fill(mock_broker)
    collector = Collector("m", max_rows=99)
    client = {"bootstrap.servers": mock_broker}
    with RangeReader(client, TOPIC, [ReadRange(0, 0, 3)], collector) as reader:
        for _ in range(50):
            reader.poll(0.2)
            if reader.done:
                break

    assert reader.done
    assert (reader.read, reader.rejected) == (3, 1)
    assert collector.events == 3
    assert [(r.start, r.end) for r in reader.ranges()] == [(0, 3)]


def test_the_scorer_follows_rows_in_their_order(mock_broker: str) -> None:
    fill(mock_broker)
    follower = EventFollower({"bootstrap.servers": mock_broker}, TOPIC, {0: 0})
    found: list[FollowedRecord] = []
    for _ in range(50):
        found += follower.poll(0.2)
        if len(found) == 5:
            break

    places = [(one.offset, one.row, None if one.event is None else one.event.id) for one in found]
    assert places == [(0, 0, "e0"), (0, 1, None), (0, 2, "e2"), (1, 0, "e3"), (2, 0, "e2")]


@pytest.mark.parametrize("seed", [1, 2])
def test_a_replay_of_batches_gives_the_alerts_of_the_monitor(seed: int) -> None:
    log = both_logs(seed, log_of(seed, 1_500)).batches
    expected = PartitionMonitor(TOPIC, 0, SPEC).observe(batch_of(log)).alerts
    records = [Record(0, r.offset, r.kind, r.value, r.key, r.timestamp_ms) for r in log]

    replay = replay_topic(topic_range_of(TopicRecords(records, []), "churn", TOPIC), SPEC)

    mine = [alert.alert_id for alert in expected if alert.model == "churn"]
    assert sorted(alert.alert_id for alert in replay.alerts) == sorted(mine)
    assert replay.episodes


def test_a_topic_of_batches_is_a_table_of_events() -> None:
    value = pack([event(i) for i in range(5)]).value
    records = [Record(0, 7, BATCH_CE_TYPE, value), Record(0, 8, None, encode(event(5)))]

    frame = topic_table_of(TopicRecords(records, []), "m", TOPIC).frame

    assert frame["x"].tolist() == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]


def test_a_rejected_row_is_requeued_as_an_event_of_its_own() -> None:
    late = event(1, time_ms=NOON + 400_000)
    headers = [(n, v.encode() if isinstance(v, str) else v) for n, v in batch_headers("b", "/svc")]
    batch = Record(0, 7, BATCH_CE_TYPE, pack([event(0), late]).value, b"m", NOON, headers)
    rejected = dead_letter(7, row=1, topic=TOPIC, model="m", reason="future")

    record = original_of(batch, rejected)

    assert decode(record.value or b"", record.kind) == late
    assert (record.key, record.source, record.kind) == (b"m", "/svc", CE_TYPE_OF[InferenceEvent])
    assert reason_not_accepted(record, rejected, NOON + 400_000, Limits()) is None
    assert rejected.dead_letter_id == f"{TOPIC}:0:7:1"
    assert original_of(batch, dead_letter(7)) is batch


def test_a_poison_batch_is_requeued_as_single_events() -> None:
    batch = Record(2, 7, BATCH_CE_TYPE, pack([event(0), event(1)]).value, b"m", NOON)

    found = records_of_rows(batch)

    assert [decode(one.value or b"", one.kind) for one in found] == [event(0), event(1)]
    assert {(one.partition, one.key) for one in found} == {(2, b"m")}
    assert records_of_rows(Record(2, 7, None, encode(event(0)))) == []


def test_a_record_that_only_looks_like_a_batch_is_rejected() -> None:
    with pytest.raises(RejectedRecord):
        events_in(b"\xff\xff\xff\xff\x10\0\0\0" + b"\0" * 40, BATCH_CE_TYPE)


def test_a_fetch_of_large_records_is_cut_without_a_gap() -> None:
    sizes = [10, 60, 60, 200, 1, None, 99]
    records = [
        ConsumerRecord(2 * i, 0, None, None if n is None else b"x" * n) for i, n in enumerate(sizes)
    ]
    fetched = RecordBatch("t", 0, "e", 0, 20, records)

    parts = list(parts_of(fetched, 100))

    assert [record for part in parts for record in part.records] == records
    assert [part.start for part in parts] == [0, *[part.next for part in parts[:-1]]]
    assert (parts[0].start, parts[-1].next) == (0, 20)
    for part in parts:
        n_bytes = sum(len(record.value or b"") for record in part.records)
        assert n_bytes <= 100 or len(part.records) == 1
