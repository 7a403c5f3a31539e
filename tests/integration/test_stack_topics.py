"""The registry of topics, made on a real Kafka."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource  # type: ignore[attr-defined]

from driftline import topic_registry

pytestmark = pytest.mark.kafka


@pytest.fixture
def prefix(kafka_broker: str) -> Iterator[str]:
    prefix = f"topics-{uuid.uuid4().hex[:8]}"
    yield prefix
    admin = AdminClient({"bootstrap.servers": kafka_broker})
    names = [topic.name for topic in topic_registry.load_registry(prefix)]
    for deleted in admin.delete_topics(names).values():
        deleted.result(20)


def test_what_the_registry_says_is_what_the_cluster_has(kafka_broker: str, prefix: str) -> None:
    client: dict[str, Any] = {"bootstrap.servers": kafka_broker}
    wanted = topic_registry.load_registry(prefix)
    assert topic_registry.create_topics(client, wanted) == [topic.name for topic in wanted]
    existing = topic_registry.existing_topics(client)
    assert {topic.name: existing[topic.name] for topic in wanted} == {
        topic.name: topic.partitions for topic in wanted
    }
    admin = AdminClient(client)
    resources = [ConfigResource(ConfigResource.Type.TOPIC, topic.name) for topic in wanted]
    answers = admin.describe_configs(resources)
    for topic, resource in zip(wanted, resources, strict=True):
        settings = answers[resource].result(20)
        assert {name: settings[name].value for name in topic.config} == topic.config


def test_making_topics_twice_makes_them_once(kafka_broker: str, prefix: str) -> None:
    client = {"bootstrap.servers": kafka_broker}
    wanted = topic_registry.load_registry(prefix)
    topic_registry.create_topics(client, wanted[1:])
    assert topic_registry.create_topics(client, wanted) == [wanted[0].name]
    assert topic_registry.create_topics(client, wanted) == []


def test_a_producer_with_a_wrong_clock_cannot_move_the_append_clock(
    kafka_broker: str, prefix: str
) -> None:
    client = {"bootstrap.servers": kafka_broker}
    topic_registry.create_topics(client, topic_registry.load_registry(prefix))
    log, a_year_ahead_ms = f"{prefix}.events.v1", 365 * 24 * 3_600_000
    producer = Producer(client)
    for timestamp_ms in (a_year_ahead_ms, 2_000_000_000_000, 0):
        producer.produce(log, b"{}", partition=0, timestamp=timestamp_ms)
    assert producer.flush(20) == 0
    consumer = Consumer({**client, "group.id": prefix})
    try:
        consumer.assign([TopicPartition(log, 0, 0)])
        stamps = [record.timestamp() for record in consumer.consume(3, 20)]
    finally:
        consumer.close()
    assert [kind for kind, _ in stamps] == [TIMESTAMP_LOG_APPEND_TIME] * 3
    times_ms = [time_ms for _, time_ms in stamps]
    assert times_ms == sorted(times_ms)
    assert max(times_ms) - min(times_ms) < 60_000
