"""An open transaction that holds a partition is named, by the worker and by `doctor`."""

from __future__ import annotations

import time
import uuid

import pytest
from confluent_kafka import Producer

from driftline.cli.doctor import examine_transactions
from driftline.doctor.health_checks import OPEN_TRANSACTION_MS
from driftline.topics.topic_registry import create_topics, load_registry
from stream_monitor.metrics import Metrics
from stream_monitor.runtime.open_transactions import (
    OPEN_TRANSACTION_S,
    OpenTransactionMonitor,
    PartitionEnds,
    partition_ends,
)
from stream_monitor.settings import Settings
from stream_monitor.shared_settings import KafkaSettings, TopicSettings
from tests.integration.trainer_harness import until

pytestmark = pytest.mark.kafka
N_BEHIND = 5


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@pytest.fixture
def settings(kafka_broker: str) -> Settings:
    prefix = f"x{uuid.uuid4().hex[:10]}"
    found = Settings(
        kafka=KafkaSettings(bootstrap_servers=kafka_broker), topics=TopicSettings(prefix=prefix)
    )
    create_topics(found.kafka.client(), load_registry(prefix))
    return found


@pytest.fixture
def left_open(settings: Settings) -> Producer:
    """A transaction with one record in partition 0, and others behind it."""
    client, topic = settings.kafka.client(), settings.topics.events
    left = Producer({**client, "transactional.id": settings.topics.prefix})
    left.init_transactions()
    left.begin_transaction()
    left.produce(topic, b"open", partition=0)
    assert left.flush(20) == 0
    other = Producer(client)
    for _ in range(N_BEHIND):
        other.produce(topic, b"behind", partition=0)
    assert other.flush(20) == 0
    return left


def test_a_worker_and_doctor_name_what_holds_a_partition(
    settings: Settings, left_open: Producer
) -> None:
    client, topic = settings.kafka.client(), settings.topics.events
    watch = OpenTransactionMonitor(client, topic, Metrics())
    found = partition_ends(client, topic, [0, 1])

    assert found == {0: PartitionEnds(0, N_BEHIND + 1), 1: PartitionEnds(0, 0)}
    watch.observe(found, 100.0)
    assert watch.reasons == {}  # transactions may last for seconds
    watch.observe(found, 100.0 + OPEN_TRANSACTION_S)
    assert list(watch.reasons) == [0]
    assert "a transaction that is open since offset 0" in watch.reasons[0]
    assert examine_transactions(settings, now_ms=now_ms()) == []
    (problem,) = examine_transactions(settings, now_ms=now_ms() + OPEN_TRANSACTION_MS)
    assert (problem.check, problem.level) == ("partition 0", "problem")
    assert "6 records" in problem.found
    assert f"--topic {topic} --partition 0 --start-offset 0" in problem.fix

    left_open.abort_transaction()
    until(
        lambda: not partition_ends(client, topic, [0])[0].n_blocked
    )  # the broker writes its marker later
    watch.observe(partition_ends(client, topic, [0]), 200.0 + OPEN_TRANSACTION_S)
    assert watch.reasons == {}
    assert examine_transactions(settings, now_ms=now_ms() + OPEN_TRANSACTION_MS) == []
