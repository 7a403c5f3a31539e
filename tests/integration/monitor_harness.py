"""The real monitor on a real Kafka and Redis, and its comparison with the oracle."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final

import msgspec
import redis
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from driftline.topics import topic_registry
from producer.cloudevents import event_headers
from producer.codec import encode
from producer.events import Event, Label
from producer.routing import partition_of, topic_names
from stream_monitor.contracts import DeadLetter
from stream_monitor.runtime.poison_records import POISON_RECORD, UNREADABLE
from stream_monitor.runtime.reader import records_of
from stream_monitor.settings import Settings
from stream_monitor.state.partition_state import PartitionStateFactory
from stream_monitor.windows.performance import WindowPerformance
from tests.builders import inference_event
from tests.integration.oracle import Found, Undisturbed
from tests.integration.read_topic import each_record, read_topic

MODELS: Final = ("churn", "flights")
N_EVENTS: Final = 6_000
START_MS: Final = 1_700_000_000_000
CORE: Final = {
    "DRIFTLINE_MONITOR": '{"warm_up_events": 1000, "warm_up_labels": 500}',
    "DRIFTLINE_BUDGET": '{"false_alerts": 1, "per_events": 20000}',
    "DRIFTLINE_WINDOWS": '{"size_ms": 600000, "grace_ms": 60000}',
}
FAST: Final = {
    "DRIFTLINE_KAFKA__HEARTBEAT_S": "0.5",
    "DRIFTLINE_KAFKA__MAX_BATCH_RECORDS": "200",
    "DRIFTLINE_COMMIT__INTERVAL_S": "0.02",
    "DRIFTLINE_WEB__ENABLED": "false",
    "DRIFTLINE_LOG_LEVEL": "WARNING",
}
SHORT_SESSION: Final = {
    "DRIFTLINE_KAFKA__SESSION_TIMEOUT_S": "2",
    "DRIFTLINE_KAFKA__HEARTBEAT_S": "0.5",
}
"""For tests that kill a worker.  On a busy machine a worker that lives loses such a session too: it
publishes dead letters again, and an attempt at a record is counted that was no death."""
POISON: Final = (b"", b"{", b"\xff\xfe", b'{"id": 7}', b"[" * 5_000)


def log_of(model: str, seed: int, n_events: int = N_EVENTS) -> Iterator[Event | bytes]:
    """A log with a shift, a unit change, labels, repeats and poison records, one event in 10 s."""
    rng = random.Random(seed)  # noqa: S311
    waiting: list[Label] = []
    for i in range(n_events):
        time_ms = START_MS + 10_000 * i
        celsius = 3 * n_events <= 9 * i < 4 * n_events
        temp = rng.gauss(60, 9)
        score = min(1.0, max(0.0, rng.gauss(0.4, 0.1)))
        event = inference_event(
            f"{model}-{i}",
            {
                "temp": (temp - 32) / 1.8 if celsius else temp,
                "age": rng.gauss(48 if 3 * i >= 2 * n_events else 40, 10),
                "plan": rng.choice(("free", "pro", "team")),
            },
            score,
            model=model,
            time_ms=time_ms,
        )
        yield event
        waiting.append(Label(id=event.id, model=model, label=int(score > 0.5), time_ms=time_ms))
        if len(waiting) > 300:
            yield waiting.pop(0)
        if i % 500 == 7:
            yield event
        if i % 300 == 11:
            yield rng.choice(POISON)


@dataclass
class MonitorHarness:
    """One event topic and one store with the monitors that a test starts on them."""

    broker: str
    redis_url: str
    prefix: str = field(default_factory=lambda: f"m{uuid.uuid4().hex[:10]}")
    monitors: list[subprocess.Popen[bytes]] = field(default_factory=list)
    kept: list[Message] = field(default_factory=list)
    """Records that were read before they were deleted from the topic."""
    event_partitions: int | None = None

    def __post_init__(self) -> None:
        self.topics = topic_names(self.prefix)
        self.client = {"bootstrap.servers": self.broker}
        self.registry = topic_registry.load_registry(
            self.prefix, event_partitions=self.event_partitions
        )
        topic_registry.create_topics(self.client, self.registry)
        self.partitions = topic_registry.existing_topics(self.client)[self.topics.events]
        self.redis: Any = redis.Redis.from_url(self.redis_url)

    def key(self, partition: int) -> str:
        return f"driftline:{{{self.topics.events}:{partition}}}"

    def produce(self, model: str, log: list[Event | bytes]) -> None:
        partition = partition_of(model, self.partitions)
        producer = Producer({**self.client, "linger.ms": 5, "enable.idempotence": True})
        for value in log:
            raw = value if isinstance(value, bytes) else encode(value)
            kind = [] if isinstance(value, bytes) else event_headers(value, source="/test")
            producer.produce(self.topics.events, raw, partition=partition, headers=kind)
            producer.poll(0)
        assert producer.flush(20) == 0

    def start(self, *, program: str = "driftline", **environment: str) -> subprocess.Popen[bytes]:
        place = {
            "DRIFTLINE_KAFKA__BOOTSTRAP_SERVERS": self.broker,
            "DRIFTLINE_REDIS__URL": self.redis_url,
            "DRIFTLINE_TOPICS__PREFIX": self.prefix,
        }
        monitor = subprocess.Popen(
            [sys.executable, "-m", program, "monitor"],
            env={**os.environ, **CORE, **FAST, **place, **environment},
        )
        self.monitors.append(monitor)
        return monitor

    def next(self, partition: int) -> int:
        """The committed offset of a partition; -1 before the first commit."""
        return int(self.redis.hget(self.key(partition), "_next") or -1)

    def position(self) -> int:
        """Records committed so far, over all partitions."""
        return sum(max(0, self.next(p)) for p in range(self.partitions))

    def waiting(self) -> int:
        fields = [name for p in range(self.partitions) for name in self.redis.hkeys(self.key(p))]
        return sum(name.startswith(b"o:") for name in fields)

    def drained(self, n_records: int) -> bool:
        done = self.position() >= n_records and self.waiting() == 0
        return done and self._at_end()  # records that workers appended count too

    def _at_end(self) -> bool:
        reader = Consumer({**self.client, "group.id": f"{self.prefix}.ends"})
        topic = self.topics.events
        try:
            return all(
                self.next(p) >= reader.get_watermark_offsets(TopicPartition(topic, p), 10)[1]
                for p in range(self.partitions)
            )
        finally:
            reader.close()

    def found(self) -> Found:
        """The actual results, from Redis and the topics."""
        state = {}
        for partition in range(self.partitions):
            fields = self.redis.hgetall(self.key(partition))
            state[partition] = {
                name.decode(): value
                for name, value in fields.items()
                if name.startswith(b"s:") and value
            }
        windows = self._values(f"{self.prefix}:window:*")
        alerts = {
            ce_id(message): message.value() or b""
            for message in read_topic(self.broker, self.topics.alerts)
        }
        figures = {
            key: (output.n_labelled, output.loss)
            for key, value in self._values(f"{self.prefix}:performance:*").items()
            for output in [msgspec.json.decode(value, type=WindowPerformance)]
        }
        dead = {ce_id(message) for message in read_topic(self.broker, self.topics.dead_letters)}
        return Found(state, set(alerts), set(windows), dead, alerts | windows, figures)

    def _values(self, pattern: str) -> dict[str, bytes]:
        """Values of all matching keys."""
        keys = list(self.redis.scan_iter(pattern, count=1_000))
        values = self.redis.mget(keys) if keys else []
        return {key.decode(): value for key, value in zip(keys, values, strict=True)}

    def log(self) -> Iterator[Message]:
        """All records ever written, each partition in order."""
        return chain(self.kept, each_record(self.broker, self.topics.events))

    def oracle(self) -> Found:
        """The expected results: an undisturbed run over the records below the committed offsets."""
        settings = Settings(
            **{
                name.removeprefix("DRIFTLINE_").lower(): json.loads(text)
                for name, text in CORE.items()
            }
        )
        folds = PartitionStateFactory(settings.monitor_spec(), self.prefix)
        upto = [int(self.redis.hget(self.key(p), "_next") or 0) for p in range(self.partitions)]
        oracle = Undisturbed(folds, self.topics.events, self.partitions, self._skipped())
        for message in self.log():
            partition, record = message.partition() or 0, records_of([message])[0]
            if record.offset < upto[partition]:
                oracle.take(partition, record)
        return oracle.found(upto)

    def _skipped(self) -> set[tuple[int, int, int | None]]:
        """(partition, offset, row) of records and rows that workers skipped by reference."""
        dead_letters = (
            msgspec.json.decode(message.value() or b"", type=DeadLetter)
            for message in read_topic(self.broker, self.topics.dead_letters)
        )
        reasons = (POISON_RECORD, UNREADABLE)
        return {
            (one.partition, one.offset, one.row) for one in dead_letters if one.reason in reasons
        }

    def wipe(self) -> None:
        """Delete all state of this topic from Redis."""
        for key in self.redis.scan_iter(f"*{self.prefix}*"):
            self.redis.delete(key)

    def close(self) -> None:
        for monitor in self.monitors:
            monitor.kill()
            monitor.wait()
        self.wipe()
        self.redis.close()
        topic_registry.delete_topics(self.client, [topic.name for topic in self.registry])


def assert_undisturbed(harness: MonitorHarness) -> None:
    """Fail unless state, alerts, dead letters and windows equal those of the oracle."""
    found, expected = harness.found(), harness.oracle()
    assert found.alerts == expected.alerts, found.alerts ^ expected.alerts
    assert found.dead_letters == expected.dead_letters, found.dead_letters ^ expected.dead_letters
    assert found.windows == expected.windows, found.windows ^ expected.windows
    for partition, fields in expected.state.items():
        assert found.state[partition].keys() == fields.keys()
        changed = [name for name, value in fields.items() if found.state[partition][name] != value]
        assert not changed, (partition, changed)


def ce_id(message: Message) -> str:
    found: Any = dict(message.headers() or [])
    return str(found["ce_id"].decode())


def until(happened: Callable[[], bool], what: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)
