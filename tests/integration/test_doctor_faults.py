"""Planted faults: the doctor finds each with a fix, and none on a healthy system."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import redis
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource  # type: ignore[attr-defined]
from typer.testing import CliRunner

from driftline.cli.app import app
from driftline.cli.doctor import examine
from driftline.doctor.health_checks import HealthCheckResult
from driftline.notify.heartbeat import (
    FailingTarget,
    NotifierHeartbeat,
    heartbeat_text,
    notifier_group,
)
from driftline.topics.topic_registry import (
    create_topics,
    delete_topics,
    existing_topics,
    load_registry,
)
from producer.cloudevents import event_headers
from producer.codec import encode
from producer.routing import partition_of
from stream_monitor.commit_metadata import offsets_with_metadata
from stream_monitor.settings import RedisSettings, Settings
from stream_monitor.shared_settings import KafkaSettings, TopicSettings
from stream_monitor.state.redis_store import partition_key
from stream_monitor.trainer_heartbeat import TrainerHeartbeat, heartbeat_offsets, trainer_group
from stream_monitor.worker_heartbeat import WorkerHeartbeat, workers_key
from tests.builders import alert, dead_letter, inference_event
from tests.integration.monitor_harness import until
from trainer.contracts import RetrainEvent

pytestmark = pytest.mark.kafka
HOUR_MS = 3_600_000
N_PARTITIONS = 4


class System:
    """Topics and keys of their own; what a worker or a trainer would have left is written."""

    def __init__(self, broker: str, redis_url: str) -> None:
        prefix = f"d{uuid.uuid4().hex[:10]}"
        self.settings = Settings(
            kafka=KafkaSettings(bootstrap_servers=broker),
            redis=RedisSettings(url=redis_url),
            topics=TopicSettings(prefix=prefix),
        )
        self.prefix, self.topics = prefix, self.settings.topics
        self.client = self.settings.kafka.client()
        create_topics(self.client, load_registry(prefix))
        self.redis: Any = redis.Redis.from_url(redis_url)
        self.now_ms = time.time_ns() // 1_000_000

    def owns(self, partition: int, *, since_last_write_ms: int = 0, **fields: str) -> None:
        """A worker that wrote so long ago owns the partition."""
        owner = {
            "_epoch": "e",
            "_member": "m",
            "_next": "0",
            "_ts": str(self.now_ms - since_last_write_ms),
        }
        self.redis.hset(partition_key(self.topics.events, partition), mapping=owner | fields)

    def works(self, member: str, partitions: list[int]) -> None:
        note = WorkerHeartbeat(
            member=member, host=member, pid=1, time_ms=self.now_ms, partitions=partitions
        )
        self.redis.hset(workers_key(self.topics.events), member, msgspec.json.encode(note))

    def trains(self, *, since_last_write_ms: int = 0) -> None:
        """A trainer left its note so long ago."""
        consumer = Consumer({**self.client, "group.id": trainer_group(self.prefix)})
        note = TrainerHeartbeat(time_ms=self.now_ms - since_last_write_ms, models=["m"])
        consumer.commit(
            offsets=heartbeat_offsets(note, self.topics.alerts, {0: 0}), asynchronous=False
        )
        consumer.close()

    def notifies(self, *failing: FailingTarget) -> None:
        """A notifier left its note a moment ago, with the targets that fail."""
        consumer = Consumer({**self.client, "group.id": notifier_group(self.prefix)})
        note = NotifierHeartbeat(
            time_ms=self.now_ms, n_targets=2, n_failing=len(failing), failing=list(failing)
        )
        consumer.commit(
            offsets=offsets_with_metadata(self.topics.alerts, {0: 0}, heartbeat_text(note)),
            asynchronous=False,
        )
        consumer.close()

    def sends(self, n: int, *, off_ms: int = 0, source: str = "/host-7", aside: int = 0) -> None:
        """Events of a producer whose clock is off, ``aside`` from the partition of their model."""
        producer = Producer(self.client)
        partition = (partition_of("m", N_PARTITIONS) + aside) % N_PARTITIONS
        for i in range(n):
            event = inference_event(
                f"{source}-{aside}-{i}", {"a": 1.0}, time_ms=self.now_ms - off_ms
            )
            producer.produce(
                self.topics.events,
                encode(event),
                key=b"m",
                partition=partition,
                headers=event_headers(event, source=source),
            )
        assert producer.flush(20) == 0

    def keeps_events_for(self, retention_ms: int) -> None:
        """A person shortened the retention of the event topic."""
        topic = ConfigResource(
            ConfigResource.Type.TOPIC,
            self.topics.events,
            incremental_configs=[
                ConfigEntry(
                    "retention.ms", str(retention_ms), incremental_operation=AlterConfigOpType.SET
                )
            ],
        )
        admin = AdminClient(self.client)
        admin.incremental_alter_configs([topic])[topic].result()

    def publishes(self, topic: str, *values: msgspec.Struct | bytes) -> None:
        producer = Producer(self.client)
        for value in values:
            blob = value if isinstance(value, bytes) else msgspec.json.encode(value)
            producer.produce(topic, blob, partition=0)
        assert producer.flush(20) == 0


@pytest.fixture
def system(kafka_broker: str, redis_url: str) -> System:
    return System(kafka_broker, redis_url)


def worse(found: list[HealthCheckResult]) -> dict[str, HealthCheckResult]:
    return {each.check: each for each in found if each.level != "ok"}


def test_a_system_that_is_well_has_no_finding(system: System) -> None:
    for partition in range(N_PARTITIONS):
        system.owns(partition)
    system.works("m", list(range(N_PARTITIONS)))
    system.trains()
    system.notifies()

    found, code = examine(system.settings)

    surroundings = {"redis persistence"}  # the test's own server keeps nothing on disk
    assert worse(found).keys() <= surroundings
    assert code == 0


def failed_fit(time_ms: int) -> RetrainEvent:
    return RetrainEvent(
        id="r",
        job_id="j",
        step="failed",
        model="m",
        champion="1",
        caused_by="a",
        rule="error",
        reason="out of memory",
        time_ms=time_ms,
    )


PLANTED: dict[str, tuple[Callable[[System], None], str, str]] = {
    "partition 0": (
        lambda s: s.owns(0, since_last_write_ms=2 * HOUR_MS),  # killed, and no traffic came
        "last seen 2 h ago",
        "driftline monitor",
    ),
    "partition 1": (lambda s: s.owns(1, _ts="0"), "no worker owns it", "driftline monitor"),
    "partition 2": (
        lambda s: s.owns(2, _stopped="1000 records in a row were rejected"),
        "1000 records in a row were rejected",
        "[dead_letters]",
    ),
    "partition 3": (
        lambda s: s.owns(3, since_last_write_ms=-HOUR_MS),
        "its owner's clock is 60 min ahead",
        "NTP",
    ),
    "workers": (lambda s: s.works("idle-host", []), "idle-host (pid 1)", "driftline topics grow"),
    "trainer": (
        lambda s: s.trains(since_last_write_ms=2 * HOUR_MS),
        "last seen 2 h ago",
        "driftline train",
    ),
    "notifier target chat": (
        lambda s: s.notifies(
            FailingTarget(target="chat", since_ms=s.now_ms - HOUR_MS, why="HTTP 500", fix="ask it")
        ),
        "no message for 60 min: HTTP 500",
        "driftline notify --test chat",
    ),
    "retrain of m": (
        lambda s: s.publishes(s.topics.names().retrain, b"garbage", failed_fit(s.now_ms - HOUR_MS)),
        "failed 60 min ago: out of memory",
        "driftline retrain m",
    ),
    "label horizon": (
        lambda s: s.keeps_events_for(HOUR_MS),
        "keeps events for 60 min, but labels may arrive 7 days after",
        "retention.ms=604800000",
    ),
    "clock of /host-7": (
        lambda s: s.sends(30, off_ms=HOUR_MS),
        "60 min before the append times",
        "NTP",
    ),
    "routing": (lambda s: s.sends(1, source="/other", aside=1), "1 of 31", "murmur2"),
    "quality of m": (
        lambda s: s.publishes(
            s.topics.alerts, b"garbage", alert(kind="quality", severity="high", explanation="-999")
        ),
        "-999",
        "driftline alerts resolve",
    ),
    "labels of m2": (
        lambda s: s.publishes(
            s.topics.alerts,
            alert(kind="labels", episode_id="l", model="m2", explanation="no label for 3 h"),
        ),
        "no label for 3 h",
        "driftline forward",
    ),
    "dead letters": (
        lambda s: s.publishes(
            s.topics.dead_letters,
            b"garbage",
            dead_letter(
                7,
                topic=s.topics.events,
                timestamp_ms=s.now_ms,
                reason="malformed_json",
                detail="no JSON",
                sha256="0" * 64,
                size_bytes=3,
                payload=b"{a}",
            ),
        ),
        "malformed_json",
        "driftline dead-letters show",
    ),
}


def test_every_planted_fault_is_found_and_named_with_its_fix(system: System) -> None:
    for plant, _, _ in PLANTED.values():
        plant(system)

    found = worse(examine(system.settings)[0])

    for check, (_, expected, fix) in PLANTED.items():
        assert check in found, (check, sorted(found))
        assert expected in found[check].found
        assert fix in found[check].fix


def test_a_missing_topic_is_made_with_the_options_that_were_asked_about(system: System) -> None:
    delete_topics(system.client, [system.topics.dead_letters])
    until(lambda: system.topics.dead_letters not in existing_topics(system.client), "it is gone")
    place = ["--prefix", system.prefix, "--bootstrap-servers", system.client["bootstrap.servers"]]

    printed = CliRunner().invoke(app, ["doctor", *place, "--redis-url", system.settings.redis.url])

    assert f"topic {system.topics.dead_letters}: missing" in printed.output
    assert "driftline topics create --prefix" in printed.output
    assert f"{system.prefix} --bootstrap-servers" in printed.output
    assert printed.exit_code == 1
