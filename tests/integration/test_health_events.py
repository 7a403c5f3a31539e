"""Health on a real broker: members of the group, the trainer's note, one event a problem."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Any

import msgspec
import pytest
from confluent_kafka import Consumer

from driftline.topics.alert_history import read_alerts
from driftline.topics.topic_reader import TopicReader
from driftline.topics.topic_registry import create_topics, load_registry
from stream_monitor.contracts import HEALTH_CE_TYPE, HealthEvent
from stream_monitor.metrics import Metrics
from stream_monitor.runtime.health_reporter import HealthReporter
from stream_monitor.runtime.partitions import OwnedPartitions
from stream_monitor.runtime.publisher import Publisher
from stream_monitor.settings import Settings
from stream_monitor.shared_settings import KafkaSettings, TopicSettings
from stream_monitor.state.redis_store import partition_key
from stream_monitor.trainer_heartbeat import monitor_group
from tests.memory_store import InMemoryStateStore
from trainer.service.monitor_watch import EMPTY_GROUP_S, MonitorWatch

pytestmark = pytest.mark.kafka


@pytest.fixture
def settings(kafka_broker: str) -> Settings:
    prefix = f"h{uuid.uuid4().hex[:10]}"
    found = Settings(
        kafka=KafkaSettings(bootstrap_servers=kafka_broker), topics=TopicSettings(prefix=prefix)
    )
    create_topics(found.kafka.client(), load_registry(prefix))
    return found


def test_a_group_without_a_member_has_no_worker(settings: Settings) -> None:
    topics, client = settings.topics, settings.kafka.client()
    group = monitor_group(topics.prefix)
    assert group == topics.group
    watch = MonitorWatch(client, group, topics.events, topics.alerts)
    member = Consumer({**client, "group.id": group})
    member.subscribe([topics.events])
    until = time.monotonic() + 30
    while not member.assignment() and time.monotonic() < until:
        member.poll(0.2)

    assert watch.check(0.0, 100) == []
    assert watch.check(EMPTY_GROUP_S + 1, 200) == []  # the member lives
    member.close()
    assert watch.check(EMPTY_GROUP_S + 2, 300) == []
    [dead_letter] = watch.check(2 * EMPTY_GROUP_S + 3, 400)
    assert dead_letter.kind == HEALTH_CE_TYPE


def test_a_problem_is_one_event_on_the_alerts_topic_which_readers_of_alerts_skip(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics, client = settings.topics, settings.kafka.client()
    store = InMemoryStateStore()
    key = partition_key(topics.events, 0)
    store.hashes[key] = {"_epoch": b"e", "_ts": b"7", "_stopped": b"all rejected"}

    async def run() -> None:
        publisher = Publisher(client)
        watch = HealthReporter(
            OwnedPartitions(),
            publisher,
            store,
            Metrics(),
            topic=topics.events,
            alerts=topics.alerts,
            prefix=topics.prefix,
            client=client,
        )
        monkeypatch.setattr(watch._health, "is_reporter", lambda *_: True)
        await watch.check()
        await watch.check()
        await publisher.close()

    asyncio.run(run())
    found: list[Any] = []
    with TopicReader(client, topics.alerts) as reader:
        found += reader.read_until(lambda: False, idle_timeout_s=2.0)
    event = msgspec.json.decode(found[0].value, type=HealthEvent)

    assert (len(found), found[0].kind, event.kind) == (1, HEALTH_CE_TYPE, "partition_stopped")
    assert read_alerts(client, topics.alerts) == ([], [])
