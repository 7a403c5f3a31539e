"""A record is written to a real log again as it was: its value, its key, its headers, its id."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from typer.testing import CliRunner

from driftline.cli.app import app
from driftline.topics import topic_registry
from driftline.topics.dead_letter_queue import read_original_records
from driftline.topics.topic_reader import Record, TopicReader
from producer.cloudevents import event_headers
from producer.codec import encode
from tests.builders import dead_letter, inference_event

pytestmark = pytest.mark.kafka


@pytest.fixture
def prefix(kafka_broker: str) -> Iterator[str]:
    prefix = f"again-{uuid.uuid4().hex[:8]}"
    client: dict[str, Any] = {"bootstrap.servers": kafka_broker}
    topic_registry.create_topics(client, topic_registry.load_registry(prefix))
    yield prefix
    names = [topic.name for topic in topic_registry.load_registry(prefix)]
    admin = AdminClient(client)
    for deleted in admin.delete_topics(names).values():
        deleted.result(20)


def read(broker: str, topic: str) -> list[Record]:
    with TopicReader({"bootstrap.servers": broker}, topic) as reader:
        return list(reader.read_until(lambda: False, idle_timeout_s=2.0))


def test_requeue_keeps_what_a_record_was(kafka_broker: str, prefix: str) -> None:
    event = inference_event("a", {"x": 1.0}, model="fraud", time_ms=1_700_000_000_000)
    log, dead = f"{prefix}.events.v1", f"{prefix}.dead-letters.v1"
    pairs = [
        *event_headers(event, source="/svc/a", traceparent="00-1-2-03"),
        ("twice", b"1"),
        ("twice", b"2"),
    ]
    producer = Producer({"bootstrap.servers": kafka_broker, "partitioner": "murmur2_random"})
    producer.produce(log, encode(event), key=b"fraud", headers=pairs)
    producer.produce(log, b"garbage", key=b"fraud")
    producer.flush(20)
    first, garbage = sorted(read(kafka_broker, log), key=lambda record: record.offset)
    for record in (first, garbage):
        value = dead_letter(
            record.offset, topic=log, partition=record.partition, reason="future", size_bytes=1
        )
        producer.produce(dead, msgspec.json.encode(value))
    producer.flush(20)
    place = ["--bootstrap-servers", kafka_broker, "--prefix", prefix]
    command = ["dead-letters", "requeue", "--model", "fraud", *place]

    assert CliRunner().invoke(app, command).exit_code == 0
    assert len(read(kafka_broker, log)) == 2
    done = CliRunner().invoke(app, [*command, "--yes"])
    assert done.exit_code == 0, done.output
    assert "would be rejected again (malformed_json)" in done.stdout
    *_, again = sorted(read(kafka_broker, log), key=lambda record: record.offset)
    assert (again.value, again.key, again.partition) == (first.value, b"fraud", first.partition)
    assert list(again.headers) == list(first.headers)
    assert len(again.headers) == len(pairs)


def test_the_originals_of_many_dead_letters_are_found(kafka_broker: str, prefix: str) -> None:
    log = f"{prefix}.events.v1"
    producer = Producer({"bootstrap.servers": kafka_broker})
    for n in range(600):
        producer.produce(log, str(n).encode(), partition=0)
    producer.flush(20)
    dead_letters = [
        dead_letter(offset, topic=log, reason="future", size_bytes=1)
        for offset in (*range(0, 600, 2), 700)
    ]

    found = read_original_records({"bootstrap.servers": kafka_broker}, dead_letters)

    assert found.pop(f"{log}:0:700") is None
    assert [record and record.value for record in found.values()] == [
        str(n).encode() for n in range(0, 600, 2)
    ]
