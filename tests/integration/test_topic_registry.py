"""The registry of topics, made on a real Kafka."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource  # type: ignore[attr-defined]
from typer.testing import CliRunner

from driftline.cli.app import app
from driftline.cli.command_error import CommandError
from driftline.cli.topics import registry_of
from driftline.topics import topic_registry

pytestmark = pytest.mark.kafka


@pytest.fixture
def prefix(kafka_broker: str) -> Iterator[str]:
    prefix = f"topics-{uuid.uuid4().hex[:8]}"
    yield prefix
    admin = AdminClient({"bootstrap.servers": kafka_broker})
    names = [topic.name for topic in topic_registry.load_registry(prefix)]
    for deleted in admin.delete_topics(names).values():
        deleted.result(20)


def test_the_cluster_has_the_topics_of_the_registry(kafka_broker: str, prefix: str) -> None:
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


def test_partitions_copies_and_a_registry_of_ones_own(
    kafka_broker: str, prefix: str, tmp_path: Path
) -> None:
    text = (Path(__file__).parents[2] / "infra" / "topics.toml").read_text()
    file = tmp_path / "mine.toml"
    file.write_text(text.replace('"1209600000" # 14 days', '"86400000"'))
    ours = ["--bootstrap-servers", kafka_broker, "--prefix", prefix]

    plan = CliRunner().invoke(app, ["topics", "plan", *ours, "--partitions", "6"])
    made = CliRunner().invoke(
        app,
        [
            "topics",
            "create",
            *ours,
            "--partitions",
            "6",
            "--replication-factor",
            "1",
            "--file",
            str(file),
        ],
    )

    assert f"+ {prefix}.events.v1  partitions=6" in plan.stdout
    assert made.exit_code == 0, made.output
    client = {"bootstrap.servers": kafka_broker}
    existing = topic_registry.existing_topics(client)
    assert existing[f"{prefix}.events.v1"] == 6
    assert existing[f"{prefix}.alerts.v1"] == 1
    config = topic_registry.topic_config(client, [f"{prefix}.events.v1"])
    assert config[f"{prefix}.events.v1"]["retention.ms"] == "86400000"


def test_more_replicas_than_brokers_are_an_error_that_names_both(
    kafka_broker: str, prefix: str
) -> None:
    asked = ["topics", "create", "--bootstrap-servers", kafka_broker, "--prefix", prefix]

    made = CliRunner().invoke(app, [*asked, "--replication-factor", "3"])

    assert made.exit_code != 0
    assert "INVALID_REPLICATION_FACTOR" in repr(made.exception) or "eplication" in made.output
    topic_registry.create_topics(
        {"bootstrap.servers": kafka_broker}, topic_registry.load_registry(prefix)
    )


def test_an_error_about_a_file_that_is_no_registry_names_its_place(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    for text, why in (
        ("[topics", "Expected"),
        ("[others]", "[topics]"),
        ('[topics."alerts.v1"]\npartitions = 1', "events.v1"),
        ('[topics."events.v1"]\npartitions = 0', "partitions"),
    ):
        file.write_text(text)
        with pytest.raises(CommandError) as failed:
            registry_of("p", file, None)
        assert why in failed.value.why
        assert str(file) in failed.value.where
