"""Records that are meant to stop all retraining end jobs, and no trainer."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from confluent_kafka import Producer

from tests.chaos.test_decompression_bomb import BOMB_BYTES, MEMORY_BYTES
from tests.chaos.test_poison_records import UNREADABLE_BYTES
from tests.integration.trainer_harness import MODEL, N_AFTER, N_BEFORE, TrainerHarness, until
from trainer.contracts import RetrainEvent
from trainer.service.job_executor import MAX_CRASHES

pytestmark = pytest.mark.kafka

OF_ANOTHER_AGE: Final = msgspec.json.encode(
    {
        "id": "x",
        "model": MODEL,
        "version": "1",
        "time_ms": 10**18,
        "prediction": 0.5,
        "features": {"a": 1.0, "b": 1.0},
    }
).replace(b"1000000000000000000", b"1" + b"0" * 25)
"""A time that no database holds, and that is later than any job waits."""
LARGE: Final[dict[str, Any]] = {"message.max.bytes": 1_000_000_000, "linger.ms": 1}


@pytest.fixture
def harness(kafka_broker: str, tmp_path: Path) -> Iterator[TrainerHarness]:
    harness = TrainerHarness(kafka_broker, tmp_path / "data_dir")
    yield harness
    harness.close()


def write(harness: TrainerHarness, value: bytes, codec: str) -> int:
    """A record between the others; answers its partition."""
    partition = next(iter(harness.updates()))[0]
    producer = Producer({"bootstrap.servers": harness.broker, "compression.type": codec, **LARGE})
    producer.produce(harness.topics.events, value, partition=partition)
    assert producer.flush(120) == 0
    return partition


def recorded(harness: TrainerHarness, number: int, step: str) -> RetrainEvent:
    until(lambda: step in harness.steps(number))
    found = (e for e in harness.events() if e.caused_by == f"alert-{number}" and e.step == step)
    return next(found)


@pytest.mark.long
def test_a_batch_that_does_not_decompress_is_skipped(harness: TrainerHarness) -> None:
    harness.publish(N_BEFORE, turned=False)
    harness.publish(N_AFTER // 2, turned=True)
    partition = write(harness, b"b" * UNREADABLE_BYTES, "zstd")
    write(harness, OF_ANOTHER_AGE, "none")
    harness.publish(N_AFTER // 2, turned=True)
    harness.alert(1, partition=partition)
    harness.start()

    recorded(harness, 1, "promoted")

    numbers = recorded(harness, 1, "started").numbers
    assert (numbers["rows"], numbers["rejected"]) == (N_BEFORE + N_AFTER, 2)


@pytest.mark.long
def test_a_job_that_ends_its_trainers_is_given_up_and_the_next_one_runs(
    harness: TrainerHarness,
) -> None:
    """So much precedes the bomb that polls come back empty, as at the end of the partition."""
    harness.publish(3 * N_BEFORE, turned=False, labels=False)
    partition = write(harness, b"b" * BOMB_BYTES, "gzip")
    harness.alert(1, partition=partition, onset_offset=0)
    for _ in range(MAX_CRASHES):
        assert confined(harness).wait(90) != 0
    last = confined(harness)

    assert recorded(harness, 1, "failed").rule == "crashes_trainer"

    harness.publish(N_AFTER, turned=True)
    harness.alert(2, partition=partition, onset_offset=3 * N_BEFORE + 2)
    assert recorded(harness, 2, "started").numbers["rows"] == N_AFTER
    assert recorded(harness, 2, "promoted").challenger == "2"
    assert last.poll() is None


def confined(harness: TrainerHarness) -> subprocess.Popen[bytes]:
    """A trainer with the memory of a container; it reads nothing before the onset."""
    trainer = harness.start(
        DRIFTLINE_TRAINER__POLICY__COOLDOWN_MS="0", DRIFTLINE_TRAINER__POLICY__LOOKBACK_RECORDS="0"
    )
    resource.prlimit(trainer.pid, resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    return trainer
