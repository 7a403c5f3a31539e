"""Invalid records are rejected and counted, and the worker continues within its memory limit."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from confluent_kafka import KafkaError, Producer

from producer.codec import encode
from producer.events import Event
from producer.routing import partition_of
from stream_monitor.runtime.poison_records import UNREADABLE
from tests.integration.monitor_harness import (
    MODELS,
    MonitorHarness,
    assert_undisturbed,
    ce_id,
    log_of,
    until,
)
from tests.integration.read_topic import read_topic

pytestmark = pytest.mark.kafka

BOMB_BYTES: Final = 64 << 20
"""What a record of a few kilobytes, compressed, becomes."""
BOMBS: Final = 4
UNREADABLE_BYTES: Final = 110 << 20
GROWTH_BYTES: Final = 6 * BOMB_BYTES
"""A bomb lies in librdkafka and as Python's bytes, and the next one comes before both are gone."""


def with_features(features: dict[str, Any]) -> bytes:
    body = {
        "id": "p",
        "model": MODELS[0],
        "version": "1",
        "time_ms": 1_700_000_000_000,
        "features": features,
        "prediction": 0.5,
    }
    return msgspec.json.encode(body)


REJECTED: Final[dict[str, bytes]] = {
    "bytes that are no JSON": bytes(range(256)),
    "bad UTF-8": with_features({"x": "y"}).replace(b'"y"', b'"\xff\xfe"'),
    "depth": b"[" * 100_000,
    "depth in a feature": with_features({"x": 1}).replace(b":1}", b":" + b"[" * 60_000 + b"}"),
    "many features": with_features({f"f{i}": i for i in range(600)}),
    "100,000 features": with_features({f"f{i}": i % 7 for i in range(60_000)}),
    "a long string": with_features({"x": "y" * 5_000}),
    "a name that is none": with_features({"x\u0007y": 1}),
}
TAKEN: Final[dict[str, bytes]] = {
    "1e308 is an invalid value": with_features({"x": 1e308}).replace(b'"p"', b'"big"'),
    "so is what is not a number": (
        with_features({"x": 1}).replace(b":1}", b":NaN}").replace(b'"p"', b'"nan"')
    ),
    "and more than a double holds": (
        with_features({"x": 1}).replace(b":1}", b":1e999}").replace(b'"p"', b'"inf"')
    ),
    "a name in another direction": with_features({"x\u202ey": 1}).replace(b'"p"', b'"rtl"'),
}


def peak_bytes(pid: int) -> int:
    """The most memory a process has had."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def write(harness: MonitorHarness, values: list[bytes], **settings: Any) -> list[KafkaError | None]:
    """Write without a `ce_type` header; returns the broker's error for each, or none."""
    errors: list[KafkaError | None] = []
    producer = Producer({**harness.client, **settings})
    for value in values:
        producer.produce(
            harness.topics.events,
            value,
            partition=partition_of(MODELS[0], harness.partitions),
            on_delivery=lambda error, _message: errors.append(error),
        )
        producer.poll(0)
    assert producer.flush(60) == 0
    return errors


def test_unreadable_records_are_rejected_and_counted_in_bounded_memory(
    harness: MonitorHarness,
) -> None:
    monitor = harness.start()
    log: list[Event | bytes] = list(log_of(MODELS[0], 1, 600))
    harness.produce(MODELS[0], log[:600])
    until(lambda: harness.position() >= 600, "the records before")
    before = peak_bytes(monitor.pid)

    large = {"message.max.bytes": 200_000_000, "compression.type": "zstd"}
    poison = [*REJECTED.values(), *TAKEN.values()]
    assert write(harness, poison, **large) == [None] * len(poison)
    bombs = [msgspec.json.encode({"id": "b" * BOMB_BYTES})] * BOMBS
    assert write(harness, bombs, **large, **{"batch.num.messages": 1}) == [None] * BOMBS
    harness.produce(MODELS[0], log[600:])
    n_records = len(log) + len(poison) + BOMBS
    until(lambda: harness.drained(n_records), "all is read and the outbox is out")

    assert monitor.poll() is None
    assert peak_bytes(monitor.pid) < before + GROWTH_BYTES
    damaged = sum(isinstance(value, bytes) for value in log)
    dead_letters = [ce_id(m) for m in read_topic(harness.broker, harness.topics.dead_letters)]
    assert len(dead_letters) == len(set(dead_letters)) == len(REJECTED) + BOMBS + damaged
    monitor.terminate()
    assert monitor.wait(60) == 0
    assert_undisturbed(harness)


def test_a_batch_too_large_to_decompress_is_skipped_by_reference(harness: MonitorHarness) -> None:
    """More than 100 MB are too much for librdkafka, which would try again for ever."""
    monitor = harness.start()
    log: list[Event | bytes] = list(log_of(MODELS[0], 1, 600))
    harness.produce(MODELS[0], log[:300])
    bomb = msgspec.json.encode({"id": "b" * UNREADABLE_BYTES})
    large = {"message.max.bytes": 2 * UNREADABLE_BYTES, "compression.type": "zstd"}
    assert write(harness, [bomb], **large) == [None]
    harness.produce(MODELS[0], log[300:])
    until(lambda: harness.drained(len(log) + 1), "all is read and the outbox is out")

    assert monitor.poll() is None
    dead_letters = read_topic(harness.broker, harness.topics.dead_letters)
    reasons = [msgspec.json.decode(m.value() or b"")["reason"] for m in dead_letters]
    assert reasons.count(UNREADABLE) == 1
    monitor.terminate()
    assert monitor.wait(60) == 0
    assert_undisturbed(harness)


def test_a_record_that_the_broker_rejects_never_reaches_the_partition(
    harness: MonitorHarness,
) -> None:
    value = encode(next(event for event in log_of("m", 1) if not isinstance(event, bytes)))
    errors = write(harness, [value + b" " * 10_000_000], **{"message.max.bytes": 20_000_000})
    assert [error.name() for error in errors if error] == ["MSG_SIZE_TOO_LARGE"]
