"""A foreign topic into the log, on a real Kafka, whatever dies on the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections import Counter
from dataclasses import dataclass, field

import msgspec
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from driftline.topic_registry import create_topics, load_registry
from producer.failpoint import EXIT_CODE
from producer.routing import topic_names
from stream_monitor.contracts import DeadLetter
from tests.integration.topic_reading import read_topic

pytestmark = pytest.mark.kafka
PARTITIONS = 2


@dataclass
class Warehouse:
    """A topic of labels as a warehouse writes them, and the log they belong in."""

    broker: str
    prefix: str = field(default_factory=lambda: f"t{uuid.uuid4().hex[:10]}")

    def __post_init__(self) -> None:
        self.source = f"{self.prefix}-warehouse"
        self.topics = topic_names(self.prefix)
        client: dict[str, str | int | float | bool] = {"bootstrap.servers": self.broker}
        create_topics(client, load_registry(self.prefix))
        admin = AdminClient(client)
        admin.create_topics([NewTopic(self.source, PARTITIONS, 1)])[self.source].result(20)

    def write(self, values: list[bytes]) -> None:
        producer = Producer({"bootstrap.servers": self.broker, "enable.idempotence": True})
        for number, value in enumerate(values):
            producer.produce(self.source, value, partition=number % PARTITIONS)
            producer.poll(0)
        assert producer.flush(30) == 0

    def forward(self, failpoint: str = "") -> tuple[int, str]:
        done = subprocess.run(
            [
                sys.executable, "-m", "driftline", "forward", self.source, "--as", "label",
                "--model", "churn", "--id-field", "request", "--label-field", "left", "--once",
                "--bootstrap-servers", self.broker, "--prefix", self.prefix, "--json",
            ],
            env={**os.environ, "DRIFTLINE_FAILPOINT": failpoint},
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout or done.stderr

    def committed(self) -> int:
        consumer = Consumer(
            {"bootstrap.servers": self.broker, "group.id": f"driftline.forward.{self.source}"}
        )
        asked = [TopicPartition(self.source, p) for p in range(PARTITIONS)]
        found = consumer.committed(asked, timeout=20)
        consumer.close()
        return sum(max(0, place.offset) for place in found)

    def ids(self) -> Counter[str]:
        found = read_topic(self.broker, self.topics.events)
        return Counter(json.loads(message.value() or b"")["id"] for message in found)

    def letters(self) -> set[str]:
        found = read_topic(self.broker, self.topics.dead_letters)
        decoded = [msgspec.json.decode(m.value() or b"", type=DeadLetter) for m in found]
        return {letter.letter_id for letter in decoded}


@pytest.fixture
def warehouse(kafka_broker: str) -> Warehouse:
    return Warehouse(kafka_broker)


def test_killed_before_its_commit_it_repeats_ids_and_loses_none(warehouse: Warehouse) -> None:
    values = [json.dumps({"request": f"r{i}", "left": i % 2}).encode() for i in range(3_000)]
    values[1_000:1_010] = [b"{"] * 10
    warehouse.write(values)

    assert warehouse.forward("forwarder.batch.written:2")[0] == EXIT_CODE
    assert warehouse.committed() < len(values)
    code, told = warehouse.forward()

    assert code == 0
    assert json.loads(told)["refused"] <= 10
    assert warehouse.committed() == len(values)
    ids = warehouse.ids()
    assert set(ids) == {f"r{i}" for i in range(3_000) if not 1_000 <= i < 1_010}
    assert max(ids.values()) == 2  # what lay above the commit came again, under its id
    assert warehouse.letters() == {
        f"{warehouse.source}:{i % 2}:{i // 2}" for i in range(1_000, 1_010)
    }
    assert json.loads(warehouse.forward()[1]) == {"events": 0, "refused": 0}


def test_a_source_gone_wrong_is_not_drained_into_the_dead_letters(warehouse: Warehouse) -> None:
    warehouse.write([b'{"requestId": 7}'] * 2_500)

    code, told = warehouse.forward()

    assert code == 1
    assert "records in a row were refused" in told
    assert warehouse.committed() == 0
    assert warehouse.ids() == Counter()
