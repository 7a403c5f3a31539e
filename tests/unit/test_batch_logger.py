"""A logger with ``batch``: events arrive once, in few records, and each is counted."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Message, TopicPartition

from producer.arrow_batch import BATCH_CE_TYPE, BATCH_CONTENT_TYPE, ArrowMissing
from producer.cloudevents import headers_of
from producer.codec import decode, is_batch
from producer.events import Event, InferenceEvent, Label
from producer.limits import Limits
from producer.logger import InferenceLogger
from producer.routing import key_of
from stream_monitor.ingest.event_columns import events_of_batch
from tests.unit.test_spool_logger import adds_up, eventually

NO_BROKER = "127.0.0.1:1"
TOPIC = "driftline.events.v1"


def logger_on(servers: str, **settings: Any) -> InferenceLogger:
    return InferenceLogger(servers, model="m", version="1", batch=True, **settings)


def read(servers: str, n: int) -> tuple[list[Event], list[Message]]:
    """The events of a topic, and its records that hold them, until there are ``n`` events."""
    consumer = Consumer(
        {"bootstrap.servers": servers, "group.id": "t", "auto.offset.reset": "earliest"}
    )
    known = consumer.list_topics(TOPIC, timeout=5).topics[TOPIC]
    consumer.assign([TopicPartition(TOPIC, p, 0) for p in known.partitions])
    events: list[Event] = []
    records: list[Message] = []
    for _ in range(200):
        for message in consumer.consume(n, 0.1):
            records.append(message)
            value = message.value() or b""
            if is_batch(value):
                events += [event for event in events_of_batch(value, Limits()) if event]
            else:
                events.append(decode(value))
        if len(events) >= n:
            break
    consumer.close()
    return events, records


def test_events_arrive_as_they_were_in_few_records(mock_broker: str) -> None:
    with logger_on(mock_broker, source="/the/server") as log:
        for i in range(1_200):
            log.log(
                features={"temp": i / 3, "carrier": "UA", "gate": None if i % 2 else i},
                prediction=i / 1_200,
                id=f"event-{i:04d}",
                segment={"origin": "EWR"},
                time_ms=1_711_800_000_000 + i,
            )

    events, records = read(mock_broker, 1_200)
    by_id = {event.id: event for event in events if isinstance(event, InferenceEvent)}
    assert len(by_id) == len(events) == 1_200
    assert by_id["event-0007"] == InferenceEvent(
        id="event-0007",
        model="m",
        version="1",
        time_ms=1_711_800_000_007,
        features={"temp": 7 / 3, "carrier": "UA"},
        prediction=7 / 1_200,
        segment={"origin": "EWR"},
    )
    assert by_id["event-0008"].features["gate"] == 8
    assert len(records) < 40
    headers = headers_of(records[0])
    assert headers["ce_type"] == BATCH_CE_TYPE.encode()
    assert headers["content-type"] == BATCH_CONTENT_TYPE.encode()
    assert headers["ce_source"] == b"/the/server"
    assert log.counters().delivered == 1_200


def test_a_value_that_fits_no_column_is_sent_as_a_single_event(mock_broker: str) -> None:
    with logger_on(mock_broker) as log:
        log.log(features={"a": 1.0}, prediction=0.5, id="number")
        log.log(features={"a": "one"}, prediction=0.5, id="text")
        log.log(features={"a": 2.0}, prediction=[[1.0, 2.0]], id="nested")
        log.log(features={"a": 3.0}, prediction={"yes": 0.2, "no": 0.8}, id="map")
        log.log(features={"a": 4.0}, id="inputs")
        log.label(id="number", label=1)
        log.log(features={"a": object()}, prediction=0.5)

    events, _ = read(mock_broker, 6)
    features = {event.id: event.features for event in events if isinstance(event, InferenceEvent)}
    predictions = {e.id: e.prediction for e in events if isinstance(e, InferenceEvent)}
    assert features["text"] == {"a": "one"}
    assert predictions["nested"] == [[1.0, 2.0]]
    assert predictions["map"] == {"yes": 0.2, "no": 0.8}
    assert [event.label for event in events if isinstance(event, Label)] == [1]
    assert sorted(features) == ["inputs", "map", "nested", "number", "text"]
    assert (log.counters().delivered, log.counters().dropped) == (6, {"invalid": 1})


def test_a_record_has_the_key_of_all_of_its_events(mock_broker: str) -> None:
    with logger_on(mock_broker, shards=4) as log:
        for _ in range(200):
            log.log(features={"a": 1.0}, prediction=0.5)

    _, records = read(mock_broker, 200)
    for record in records:
        for event in events_of_batch(record.value() or b"", Limits()):
            assert event is not None
            assert record.key() == key_of("m", event.id, 4).encode()


def test_with_a_dead_kafka_memory_is_bounded_and_each_event_is_counted() -> None:
    log = logger_on(NO_BROKER, max_messages=100)
    for _ in range(1_000):
        log.log(features={"a": 1.0}, prediction=0.5)
    counters = log.counters()

    assert adds_up(counters)
    assert 100 <= counters.in_flight <= 200
    log.close(0)
    assert log.counters().in_flight == 0
    assert sum(log.counters().dropped.values()) == 1_000


def test_events_of_batches_that_kafka_did_not_take_are_spooled_one_by_one(
    tmp_path: Path, mock_broker: str
) -> None:
    log = logger_on(NO_BROKER, spool=tmp_path, message_timeout_ms=200)
    ids = [log.log(features={"a": 1.0}, prediction=0.5) for _ in range(700)]
    log.close(1)
    assert log.counters().spooled == 700

    after = InferenceLogger(mock_broker, model="m", version="1", spool=tmp_path)
    eventually(after, lambda counters: counters.recovered == 700)
    events, _ = read(mock_broker, 700)
    assert sorted(ids) == sorted(event.id for event in events if isinstance(event, InferenceEvent))
    after.close()


def test_without_nanoarrow_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nanoarrow", None)

    with pytest.raises(ArrowMissing, match=r"driftline\[arrow\]"):
        logger_on(NO_BROKER)


@pytest.mark.parametrize("setting", ["batch_linger_ms", "batch_rows", "batch_bytes"])
def test_a_limit_of_batches_below_one_is_rejected(setting: str) -> None:
    with pytest.raises(ValueError, match=setting):
        logger_on(NO_BROKER, **{setting: -1})
