"""Real workers on a real Kafka and a real Redis, with a core that only counts."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from producer.events import CE_TYPE_OF, Tick
from stream_monitor.state.codec import decode_state

pytestmark = pytest.mark.kafka

PARTITIONS = 4
ALERT_EVERY = 1_000  # as counting_worker has it
HERE = Path(__file__).parent


@dataclass
class CountingHarness:
    """One log, one store, and the workers on them."""

    broker: str
    redis_url: str
    prefix: str = field(default_factory=lambda: f"t{uuid.uuid4().hex[:10]}")
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.events = f"{self.prefix}.events.v1"
        self.alerts = f"{self.prefix}.alerts.v1"
        self.dead = f"{self.prefix}.dead-letters.v1"
        self.admin = AdminClient({"bootstrap.servers": self.broker})
        new = [NewTopic(self.events, PARTITIONS, 1)]
        new += [NewTopic(name, 1, 1) for name in (self.alerts, self.dead)]
        for created in self.admin.create_topics(new).values():
            created.result(20)
        self.redis: Any = redis.Redis.from_url(self.redis_url)

    def key(self, partition: int) -> str:
        return f"driftline:{{{self.events}:{partition}}}"

    def produce(self, values: list[bytes], **config: Any) -> None:
        producer = Producer({"bootstrap.servers": self.broker, "linger.ms": 10, **config})
        for number, value in enumerate(values):
            producer.produce(self.events, value, partition=number % PARTITIONS)
            producer.poll(0)
        assert producer.flush(20) == 0

    def start(self, **environment: str) -> subprocess.Popen[bytes]:
        worker = subprocess.Popen(
            [sys.executable, str(HERE / "counting_worker.py")],
            cwd=HERE.parent.parent,
            env=os.environ
            | {
                "PYTHONPATH": str(HERE.parent.parent),
                "DRIFTLINE_KAFKA__BOOTSTRAP_SERVERS": self.broker,
                "DRIFTLINE_KAFKA__SESSION_TIMEOUT_S": "6",
                "DRIFTLINE_KAFKA__HEARTBEAT_S": "1",
                "DRIFTLINE_KAFKA__MAX_BATCH_RECORDS": "200",
                "DRIFTLINE_COMMIT__INTERVAL_S": "0.02",
                "DRIFTLINE_REDIS__URL": self.redis_url,
                "DRIFTLINE_TOPICS__PREFIX": self.prefix,
                "DRIFTLINE_WEB__ENABLED": "false",
                "DRIFTLINE_LOG_LEVEL": "WARNING",
            }
            | environment,
        )
        self.workers.append(worker)
        return worker

    def next_offsets(self) -> dict[int, int]:
        stored = {p: self.redis.hget(self.key(p), "_next") for p in range(PARTITIONS)}
        return {p: int(value) for p, value in stored.items() if value is not None}

    def counts(self) -> Counter[str]:
        total: Counter[str] = Counter()
        for p in range(PARTITIONS):
            for name, blob in self.redis.hgetall(self.key(p)).items():
                if name.startswith(b"s:"):
                    total[name[2:].decode()] += decode_state("count", blob)
        return total

    def owners(self) -> set[bytes]:
        found = {self.redis.hget(self.key(p), "_member") for p in range(PARTITIONS)}
        return found - {None}

    def tokens(self) -> list[bytes]:
        """The fencing token of the owner of each partition."""
        return [self.redis.hget(self.key(p), "_epoch") for p in range(PARTITIONS)]

    def generations(self) -> list[bytes]:
        """The group generation in which each partition was acquired."""
        return [self.redis.hget(self.key(p), "_gen") for p in range(PARTITIONS)]

    def outbox(self) -> list[bytes]:
        names = [n for p in range(PARTITIONS) for n in self.redis.hkeys(self.key(p))]
        return [name for name in names if name.startswith(b"o:")]

    def read(self, topic: str) -> list[Message]:
        """All committed records of a topic as it ends now, by partition."""
        consumer = Consumer(
            {"bootstrap.servers": self.broker, "group.id": "reader", "enable.partition.eof": True}
        )
        number = len(self.admin.list_topics(topic, timeout=10).topics[topic].partitions)
        consumer.assign([TopicPartition(topic, p, 0) for p in range(number)])
        messages: list[Message] = []
        ended = 0
        while ended < number:
            for message in consumer.consume(10_000, 0.2):
                ended += message.error() is not None
                messages += [message] if message.error() is None else []
        consumer.close()
        return messages

    def oracle(self) -> tuple[Counter[str], set[str]]:
        """Counts and alert ids of the topic, read from its beginning without a fault."""
        counts: Counter[str] = Counter()
        totals: Counter[int] = Counter()
        ids: set[str] = set()
        for message in self.read(self.events):
            if ("ce_type", CE_TYPE_OF[Tick].encode()) in (message.headers() or []):
                continue
            partition = message.partition() or 0
            counts[(message.value() or b"")[:1].decode()] += 1
            totals[partition] += 1
            if totals[partition] % ALERT_EVERY == 0:
                ids.add(f"{self.events}:{partition}:{message.offset()}")
        return counts, ids

    def published(self) -> set[str]:
        return {ce_id(message) for message in self.read(self.alerts)}

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()
            worker.wait()
        for key in self.redis.scan_iter(f"*{self.prefix}*"):
            self.redis.delete(key)
        self.redis.close()
        for gone in self.admin.delete_topics([self.events, self.alerts, self.dead]).values():
            gone.result(20)


@pytest.fixture
def harness(kafka_broker: str, redis_url: str) -> Iterator[CountingHarness]:
    harness = CountingHarness(kafka_broker, redis_url)
    yield harness
    harness.close()


def ce_id(message: Message) -> str:
    headers: Any = dict(message.headers() or [])
    return str(headers["ce_id"].decode())


def eventually(condition: Callable[[], bool], what: str, seconds: float = 90) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def stop(worker: subprocess.Popen[bytes]) -> None:
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0


def values(first: int, last: int) -> list[bytes]:
    return [b"%c%d" % (97 + i % 23, i) for i in range(first, last)]


def test_a_killed_worker_loses_nothing_and_a_wiped_store_is_rebuilt_the_same(
    harness: CountingHarness,
) -> None:
    doomed, other = harness.start(), harness.start()
    eventually(lambda: len(harness.owners()) == 2, "both own partitions")
    harness.produce(values(0, 20_000))
    eventually(lambda: sum(harness.next_offsets().values()) > 0, "a first commit")
    doomed.kill()
    harness.produce(values(20_000, 40_000))
    heir = harness.start()
    former = harness.owners()
    eventually(lambda: bool(harness.owners() - former), "the heir owns partitions")
    eventually(lambda: harness.counts().total() >= 40_000 and not harness.outbox(), "all counted")
    stop(other)
    stop(heir)
    counts, ids = harness.oracle()
    assert counts.total() == 40_000
    assert len(ids) == 40
    assert harness.counts() == counts
    assert harness.published() == ids
    assert {harness.redis.get(f"window:{one}") for one in ids} == {b'{"n":1000}'}

    for partition in range(PARTITIONS):
        harness.redis.delete(harness.key(partition))
    rebuilder = harness.start()
    eventually(lambda: harness.counts().total() >= 40_000 and not harness.outbox(), "rebuilt")
    stop(rebuilder)
    assert harness.counts() == counts
    assert harness.published() == ids


def test_a_paused_worker_that_resumes_counts_nothing_twice(harness: CountingHarness) -> None:
    harness.produce(values(0, 4_000))
    zombie = harness.start()
    eventually(lambda: harness.counts().total() == 4_000, "counted by the first")
    heir = harness.start()
    zombie.send_signal(signal.SIGSTOP)
    harness.produce(values(4_000, 8_000))
    eventually(lambda: harness.counts().total() == 8_000, "counted by the second")
    zombie.send_signal(signal.SIGCONT)
    harness.produce(values(8_000, 12_000))
    eventually(lambda: harness.counts().total() >= 12_000 and not harness.outbox(), "all counted")
    stop(zombie)
    stop(heir)
    counts, ids = harness.oracle()
    assert harness.counts() == counts
    assert harness.published() == ids


@pytest.mark.long
def test_a_static_member_restarts_without_a_rebalance(harness: CountingHarness) -> None:
    """The other worker keeps its fencing tokens: it gave nothing up."""
    patient = {"DRIFTLINE_KAFKA__SESSION_TIMEOUT_S": "80"}  # longer than a restart may take
    first, second = (
        harness.start(**patient, DRIFTLINE_KAFKA__GROUP_INSTANCE_ID=name) for name in ("a", "b")
    )
    harness.produce([b"a"] * 100 * PARTITIONS)
    eventually(lambda: len(harness.owners()) == 2, "both own partitions")
    eventually(lambda: len(set(harness.generations())) == 1, "the group is stable")
    eventually(lambda: harness.counts().total() == 100 * PARTITIONS, "all counted")
    tokens, generations = harness.tokens(), harness.generations()

    first.kill()
    first.wait()
    harness.start(**patient, DRIFTLINE_KAFKA__GROUP_INSTANCE_ID="a")
    harness.produce([b"b"] * 100 * PARTITIONS)
    eventually(lambda: harness.counts().total() == 200 * PARTITIONS, "all counted")

    kept = [old == new for old, new in zip(tokens, harness.tokens(), strict=True)]
    assert kept.count(True) == PARTITIONS // 2
    assert harness.generations() == generations
    stop(second)


def test_rejected_records_are_dead_letters_before_the_offset_passes_them(
    harness: CountingHarness,
) -> None:
    harness.produce([b"bad" if i % 50 == 0 else b"good" for i in range(2_000)])
    worker = harness.start()
    eventually(lambda: harness.counts().total() == 2_000, "all counted")
    stop(worker)
    bad = {
        f"{harness.events}:{m.partition()}:{m.offset()}"
        for m in harness.read(harness.events)
        if m.value() == b"bad"
    }
    dead = harness.read(harness.dead)
    assert {ce_id(message) for message in dead} == bad
    assert all(msgspec.json.decode(m.value() or b"")["reason"] == "bad" for m in dead)


def test_a_record_the_core_cannot_bear_ends_the_worker_and_is_not_passed(
    harness: CountingHarness,
) -> None:
    harness.produce([b"a"] * 10 * PARTITIONS)
    worker = harness.start()
    eventually(lambda: harness.counts().total() == 10 * PARTITIONS, "the good ones counted")
    harness.produce([b"explode"])
    assert worker.wait(60) == 1
    before = [
        m.offset()
        for m in harness.read(harness.events)
        if m.partition() == 0 and m.value() == b"explode"
    ]
    assert harness.next_offsets()[0] <= before[0]  # type: ignore[operator]


@pytest.mark.smoke
def test_transaction_markers_and_aborted_records_leave_no_gap(harness: CountingHarness) -> None:
    producer = Producer({"bootstrap.servers": harness.broker, "transactional.id": harness.prefix})
    producer.init_transactions(60)
    for commit in (True, False, True, True, False):
        producer.begin_transaction()
        for partition, _ in itertools.product(range(PARTITIONS), range(5)):
            producer.produce(harness.events, b"t" if commit else b"x", partition=partition)
        producer.flush(60)  # else an abort takes back what was never sent
        producer.commit_transaction(60) if commit else producer.abort_transaction(60)
    worker = harness.start(DRIFTLINE_KAFKA__TICK_AFTER_S="600")
    ends = dict.fromkeys(range(PARTITIONS), 5 * 6)  # five records and a marker, five times
    eventually(lambda: harness.next_offsets() == ends, "read past the last marker")
    stop(worker)
    assert harness.counts() == Counter({"t": 3 * 5 * PARTITIONS})


def test_deleted_records_are_skipped_and_state_beyond_the_end_is_quarantined(
    harness: CountingHarness,
) -> None:
    harness.produce(values(0, 400))
    worker = harness.start(DRIFTLINE_KAFKA__TICK_AFTER_S="600")
    eventually(lambda: harness.counts().total() == 400, "counted")
    stop(worker)
    harness.produce(values(400, 800))
    for deleted in harness.admin.delete_records([TopicPartition(harness.events, 0, 150)]).values():
        deleted.result(20)
    harness.redis.hset(harness.key(1), "_next", 5_000)
    worker = harness.start(DRIFTLINE_KAFKA__TICK_AFTER_S="600")
    ends = dict.fromkeys(range(PARTITIONS), 200)
    eventually(lambda: harness.next_offsets() == ends, "at the end again")
    stop(worker)
    assert harness.counts().total() == 750  # 50 of partition 0 were deleted unread
    aside = list(harness.redis.scan_iter(f"{harness.key(1).replace('{', '[{]')}:quarantine:*"))
    assert len(aside) == 1


def test_an_idle_partition_gets_ticks_from_its_owner(harness: CountingHarness) -> None:
    worker = harness.start(DRIFTLINE_KAFKA__TICK_AFTER_S="0.2")
    eventually(lambda: len(harness.next_offsets()) == PARTITIONS, "ticks counted in")
    stop(worker)
    ticks = harness.read(harness.events)
    assert {tick.partition() for tick in ticks} == set(range(PARTITIONS))
    assert {dict(t.headers() or [])["ce_type"] for t in ticks} == {CE_TYPE_OF[Tick].encode()}


def test_missing_topics_are_named_before_anything_starts(harness: CountingHarness) -> None:
    worker = harness.start(DRIFTLINE_TOPICS__PREFIX=f"{harness.prefix}-never")
    assert worker.wait(60) == 4
