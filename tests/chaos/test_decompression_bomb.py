"""A batch too large to decompress in memory ends its owners, and is then skipped."""

from __future__ import annotations

import resource
from typing import Any, Final

import msgspec
import pytest
from confluent_kafka import Producer

from producer.events import Event
from producer.routing import partition_of
from stream_monitor.runtime.poison_records import MAX_ATTEMPTS, MAX_SKIPPED_RECORDS, POISON_RECORD
from tests.integration.monitor_harness import (
    MODELS,
    SHORT_SESSION,
    MonitorHarness,
    assert_undisturbed,
    log_of,
    until,
)
from tests.integration.read_topic import read_topic

pytestmark = pytest.mark.kafka

MEMORY_BYTES: Final = 768 << 20
"""What a worker may have for data: it asks for 460 MB as it starts, and touches half of that."""
BOMB_BYTES: Final = 384 << 20
NEIGHBOURS: Final = MAX_SKIPPED_RECORDS + 200
"""Records that were packed together with the bomb: more than are skipped between two commits."""
AT_ONCE: Final[dict[str, Any]] = {
    "compression.type": "gzip",
    "message.max.bytes": 1_000_000_000,
    "batch.size": 1_000_000_000,
    "linger.ms": 60_000,
}


def exits_until_drained(harness: MonitorHarness, n_records: int) -> list[int]:
    """Start one worker after the other until all is read; how those before the last one ended."""
    exits: list[int] = []
    while True:
        worker = harness.start(**SHORT_SESSION, DRIFTLINE_KAFKA__TICK_AFTER_S="600")
        resource.prlimit(worker.pid, resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
        until(lambda w=worker: w.poll() is not None or harness.drained(n_records), "all is read")  # type: ignore[misc]
        if worker.poll() is None:
            worker.terminate()
            assert worker.wait(60) == 0
            return exits
        exits.append(worker.returncode)
        assert len(exits) <= 2 * MAX_ATTEMPTS, (
            f"at {harness.position()} of {n_records} after {exits}"
        )


@pytest.mark.long
def test_a_batch_too_large_for_memory_is_skipped_with_all_its_records(
    harness: MonitorHarness,
) -> None:
    """Three workers die of a fetch before it is looked for, and three of the batch itself."""
    log: list[Event | bytes] = list(log_of(MODELS[0], 1, 600))
    harness.produce(MODELS[0], log[:400])
    packed = [*[b"{"] * NEIGHBOURS, msgspec.json.encode({"id": "b" * BOMB_BYTES})]
    producer = Producer({**harness.client, **AT_ONCE})
    for value in packed:
        partition = partition_of(MODELS[0], harness.partitions)
        producer.produce(harness.topics.events, value, partition=partition)
    assert producer.flush(120) == 0
    harness.produce(MODELS[0], log[400:])

    exits = exits_until_drained(harness, len(log) + len(packed))

    assert len(exits) == 2 * MAX_ATTEMPTS
    assert 0 not in exits
    dead_letters = [
        msgspec.json.decode(message.value() or b"")
        for message in read_topic(harness.broker, harness.topics.dead_letters)
    ]
    skipped = sorted(
        dead_letter["offset"]
        for dead_letter in dead_letters
        if dead_letter["reason"] == POISON_RECORD
    )
    assert skipped == list(range(400, 400 + len(packed)))
    assert_undisturbed(harness)
