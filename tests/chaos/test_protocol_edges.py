"""A worker at the edges of the protocol, on a real Kafka and Redis."""

from __future__ import annotations

import contextlib
import subprocess
from collections import Counter
from collections.abc import Iterator

import msgspec
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]

from producer.failpoints import EXIT_CODE
from stream_monitor.contracts import DriftAlert
from stream_monitor.runtime.poison_records import MAX_ATTEMPTS, POISON_RECORD
from stream_monitor.state.partition_state import ALERT
from tests.integration.counting_worker import WIDE
from tests.integration.monitor_harness import SHORT_SESSION
from tests.integration.test_runtime_worker import (
    ALERT_EVERY,
    PARTITIONS,
    CountingHarness,
    ce_id,
    eventually,
    stop,
)

pytestmark = pytest.mark.kafka

WITHOUT_TICKS = {"DRIFTLINE_KAFKA__TICK_AFTER_S": "600"}


class Edge(CountingHarness):
    """A log whose worst moments are looked at closely."""

    def write(self, value: bytes, partition: int) -> None:
        producer = Producer({"bootstrap.servers": self.broker})
        producer.produce(self.events, value, partition=partition)
        assert producer.flush(20) == 0

    def committed(self) -> dict[int, int]:
        """The offsets that Kafka has committed for the group."""
        group = f"{self.prefix}.monitor"
        consumer = Consumer({"bootstrap.servers": self.broker, "group.id": group})
        asked = [TopicPartition(self.events, p) for p in range(PARTITIONS)]
        answers = {one.partition: one.offset for one in consumer.committed(asked, timeout=20)}
        consumer.close()
        return {partition: offset for partition, offset in answers.items() if offset >= 0}

    def report_offset(self, offset: int) -> None:
        """Report this offset to Kafka for the group, on every partition."""
        group = f"{self.prefix}.monitor"
        consumer = Consumer({"bootstrap.servers": self.broker, "group.id": group})
        committed = [TopicPartition(self.events, p, offset) for p in range(PARTITIONS)]
        consumer.commit(offsets=committed, asynchronous=False)
        consumer.close()

    def aside(self) -> list[bytes]:
        """Keys of state that was set aside."""
        return list(self.redis.scan_iter(f"*{self.prefix}*:quarantine:*"))

    def recreate(self) -> None:
        """Delete the topic and create it again."""
        for gone in self.admin.delete_topics([self.events]).values():
            gone.result(20)
        eventually(lambda: self.events not in self.admin.list_topics(timeout=10).topics, "gone")
        for made in self.admin.create_topics([NewTopic(self.events, PARTITIONS, 1)]).values():
            made.result(20)
        eventually(lambda: self.events in self.admin.list_topics(timeout=10).topics, "there")


@pytest.fixture
def harness(kafka_broker: str, redis_url: str) -> Iterator[Edge]:
    harness = Edge(kafka_broker, redis_url)
    yield harness
    harness.close()


def first(harness: Edge, value: bytes) -> str:
    """Where a value lies, as the id of its dead letter."""
    found = next(message for message in harness.read(harness.events) if message.value() == value)
    return f"{harness.events}:{found.partition()}:{found.offset()}"


@pytest.mark.long
def test_a_record_that_kills_is_found_and_skipped_by_reference(harness: Edge) -> None:
    values = [b"a"] * 400
    values[202] = b"kill"
    harness.produce(values)
    deaths = 0
    worker = harness.start(**WITHOUT_TICKS, **SHORT_SESSION)
    while deaths <= 3 * MAX_ATTEMPTS and harness.counts().total() < len(values):
        with contextlib.suppress(subprocess.TimeoutExpired):
            assert worker.wait(0.1) == EXIT_CODE
            deaths += 1
            worker = harness.start(**WITHOUT_TICKS, **SHORT_SESSION)
    eventually(lambda: harness.counts().total() == len(values), "all counted")
    stop(worker)
    assert deaths >= 2 * MAX_ATTEMPTS  # so many at the offset before it, so many alone
    offset = first(harness, b"kill").rsplit(":", 1)[1]
    assert harness.counts() == Counter({"a": len(values) - 1, f"skipped {offset}": 1})
    dead_letters = {ce_id(message): message for message in harness.read(harness.dead)}
    assert dead_letters.keys() == {first(harness, b"kill")}
    dead_letter = msgspec.json.decode(dead_letters[first(harness, b"kill")].value() or b"")
    assert dead_letter["reason"] == POISON_RECORD
    assert "payload" not in dead_letter


def test_a_limit_of_dead_letters_stops_its_partition_and_no_other(
    harness: Edge, capfd: pytest.CaptureFixture[str]
) -> None:
    flood = [b"bad" if i % PARTITIONS == 1 else b"a" for i in range(1_000 * PARTITIONS)]
    harness.produce([b"a"] * 10 * PARTITIONS + flood)
    worker = harness.start(**WITHOUT_TICKS, DRIFTLINE_DEAD_LETTERS__MAX_CONSECUTIVE="300")
    others = dict.fromkeys({0, 2, 3}, 1_010)
    eventually(lambda: others.items() <= harness.next_offsets().items(), "the others are read")
    printed: list[str] = []

    def reason_is_logged() -> bool:
        printed.append(capfd.readouterr().err)
        return "partition stopped" in "".join(printed)

    eventually(reason_is_logged, "the reason is logged")
    stop(worker)
    assert "records in a row were rejected; max_consecutive is 300" in "".join(printed)
    assert harness.next_offsets().get(1, 0) < 310
    worker = harness.start(**WITHOUT_TICKS)
    eventually(lambda: harness.counts().total() == 1_010 * PARTITIONS, "read on after the restart")
    stop(worker)


def test_a_worker_that_hangs_is_ended_with_a_reason(
    harness: Edge, capfd: pytest.CaptureFixture[str]
) -> None:
    harness.produce([b"hang"])
    worker = harness.start(**WITHOUT_TICKS, DRIFTLINE_WATCHDOG__STALL_TIMEOUT_S="3")
    assert worker.wait(90) == 1
    assert "the event loop has not run for" in capfd.readouterr().err


@pytest.mark.long
def test_a_lost_store_resumes_at_the_committed_offset_if_so_set(
    harness: Edge, capfd: pytest.CaptureFixture[str]
) -> None:
    harness.produce([b"a"] * 100 * PARTITIONS)
    worker = harness.start(**WITHOUT_TICKS)
    eventually(lambda: harness.counts().total() == 100 * PARTITIONS, "counted")
    committed = dict.fromkeys(range(PARTITIONS), 100)
    eventually(lambda: harness.committed() == committed, "Kafka has the offsets")
    stop(worker)
    for partition in range(PARTITIONS):
        harness.redis.delete(harness.key(partition))
    harness.produce([b"b"] * 10 * PARTITIONS)
    worker = harness.start(**WITHOUT_TICKS, DRIFTLINE_REDIS__ON_STATE_LOSS="resume")
    eventually(lambda: harness.next_offsets() == dict.fromkeys(committed, 110), "read on")
    stop(worker)
    assert harness.counts() == Counter({"b": 10 * PARTITIONS})
    assert "the store has lost the state of a partition" in capfd.readouterr().err


def test_undecodable_state_is_quarantined_and_rebuilt(harness: Edge) -> None:
    harness.produce([b"a"] * 1_200 * PARTITIONS)
    worker = harness.start(**WITHOUT_TICKS)
    eventually(lambda: harness.counts().total() == 1_200 * PARTITIONS, "counted")
    eventually(lambda: not harness.outbox(), "published")
    stop(worker)
    blob = bytearray(harness.redis.hget(harness.key(0), "s:a"))
    blob[-6] ^= 1
    harness.redis.hset(harness.key(0), "s:a", bytes(blob))
    harness.redis.hset(harness.key(1), "o:a:x", b'{"alert_id": 7')
    worker = harness.start(**WITHOUT_TICKS)
    eventually(lambda: len(harness.aside()) == 2, "set aside")
    eventually(lambda: harness.next_offsets() == dict.fromkeys(range(PARTITIONS), 1_200), "rebuilt")
    eventually(lambda: not harness.outbox(), "published again")
    stop(worker)
    counts, ids = harness.oracle()
    assert harness.counts() == counts
    assert harness.published() == ids


@pytest.mark.long
def test_a_commit_too_large_for_one_write_survives_a_death_at_each_of_its_writes(
    harness: Edge,
) -> None:
    harness.write(b"wide", 0)
    for n_writes in range(1, 6):  # the chunks; three slices and the end of the chunks
        worker = harness.start(
            **WITHOUT_TICKS,
            **SHORT_SESSION,
            DRIFTLINE_FAILPOINT=f"monitor.commit.answered:{n_writes}",
        )
        assert worker.wait(90) == EXIT_CODE
        harness.write(b"a", 0)
    worker = harness.start(**WITHOUT_TICKS, **SHORT_SESSION)
    eventually(lambda: harness.next_offsets().get(0) == 6, "all read")
    stop(worker)
    expected = {f"wide {number}": 1 for number in range(WIDE)} | {"a": 5, "w": 1}
    assert harness.counts() == Counter(expected)
    names = {name.decode() for name in harness.redis.hkeys(harness.key(0))}
    assert not {name for name in names if name.startswith("b:")}


def test_the_committed_offset_is_never_ahead(harness: Edge) -> None:
    worker = harness.start(**WITHOUT_TICKS)
    reported: set[tuple[tuple[int, int], ...]] = set()

    def reported_again() -> bool:
        harness.produce([b"a"] * 500 * PARTITIONS)
        committed = harness.committed()  # asked first: what is stored only moves on
        stored = harness.next_offsets()
        assert all(offset <= stored[partition] for partition, offset in committed.items())
        reported.add(tuple(sorted(committed.items())))
        return len(reported) > 3

    eventually(reported_again, "offsets were reported several times")
    stop(worker)


@pytest.mark.parametrize("policy", ["rebuild", pytest.param("resume", marks=pytest.mark.long)])
def test_a_recreated_topic_is_read_from_its_first_record(harness: Edge, policy: str) -> None:
    harness.produce([b"a"] * 100 * PARTITIONS)
    worker = harness.start(**WITHOUT_TICKS)
    eventually(lambda: harness.counts().total() == 100 * PARTITIONS, "counted")
    stop(worker)
    harness.recreate()
    harness.produce([b"b"] * 40 * PARTITIONS)
    harness.report_offset(100)  # an election that truncates a log leaves this as it was
    worker = harness.start(**WITHOUT_TICKS, DRIFTLINE_REDIS__ON_STATE_LOSS=policy)
    eventually(lambda: harness.counts() == Counter({"b": 40 * PARTITIONS}), "read from the start")
    assert len(harness.aside()) == PARTITIONS
    stop(worker)


@pytest.mark.long
def test_a_removal_that_the_store_forgot_is_made_up_for(harness: Edge) -> None:
    n = ALERT_EVERY * PARTITIONS
    harness.produce([b"a"] * n)
    worker = harness.start(**WITHOUT_TICKS)
    eventually(lambda: harness.counts().total() == n and bool(harness.published()), "reported")
    eventually(lambda: not harness.outbox(), "all is out")
    published = Counter(ce_id(message) for message in harness.read(harness.alerts))
    message = harness.read(harness.alerts)[0]
    alert = msgspec.json.decode(message.value() or b"", type=DriftAlert)

    harness.redis.hset(
        harness.key(alert.partition), f"{ALERT}{alert.alert_id}", message.value() or b""
    )
    eventually(lambda: not harness.outbox(), "the outbox is out again")
    stop(worker)

    again = Counter(ce_id(message) for message in harness.read(harness.alerts))
    assert again - published == Counter([alert.alert_id])
