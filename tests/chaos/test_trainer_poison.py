"""What stands in the log may be meant to stop all retraining: it ends jobs, and no trainer."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from confluent_kafka import Producer

from tests.chaos.test_bomb import BOMB_BYTES, ROOM_BYTES
from tests.chaos.test_poison import UNREADABLE_BYTES
from tests.integration.trainer_stage import MODEL, N_AFTER, N_BEFORE, Stage, until
from trainer.contracts import RetrainEvent
from trainer.runtime.trials import TRIES

pytestmark = pytest.mark.kafka

OF_ANOTHER_AGE: Final = msgspec.json.encode({
    "id": "x", "model": MODEL, "version": "1", "time_ms": 10**18, "prediction": 0.5,
    "features": {"a": 1.0, "b": 1.0},
}).replace(b"1000000000000000000", b"1" + b"0" * 25)  # fmt: skip
"""A time that no database holds, and that is later than any job waits."""
LARGE: Final[dict[str, Any]] = {"message.max.bytes": 1_000_000_000, "linger.ms": 1}


@pytest.fixture
def stage(kafka_broker: str, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(kafka_broker, tmp_path / "home")
    yield stage
    stage.close()


def write(stage: Stage, value: bytes, codec: str) -> int:
    """A record between the others; answers its partition."""
    partition = next(iter(stage.updates()))[0]
    producer = Producer({"bootstrap.servers": stage.broker, "compression.type": codec, **LARGE})
    producer.produce(stage.topics.events, value, partition=partition)
    assert producer.flush(120) == 0
    return partition


def told(stage: Stage, number: int, step: str) -> RetrainEvent:
    until(lambda: step in stage.steps(number))
    found = (e for e in stage.events() if e.caused_by == f"alert-{number}" and e.step == step)
    return next(found)


def test_what_does_not_unpack_is_passed_over(stage: Stage) -> None:
    stage.publish(N_BEFORE, turned=False)
    stage.publish(N_AFTER // 2, turned=True)
    partition = write(stage, b"b" * UNREADABLE_BYTES, "zstd")
    write(stage, OF_ANOTHER_AGE, "none")
    stage.publish(N_AFTER // 2, turned=True)
    stage.alert(1, partition=partition)
    stage.start()

    told(stage, 1, "promoted")

    numbers = told(stage, 1, "started").numbers
    assert (numbers["rows"], numbers["refused"]) == (N_BEFORE + N_AFTER, 2)


def test_a_job_that_ends_its_trainers_is_given_up_and_the_next_one_runs(stage: Stage) -> None:
    """The bomb lies behind so much that nothing comes for a while, as at the end of the log."""
    stage.publish(3 * N_BEFORE, turned=False, labels=False)
    partition = write(stage, b"b" * BOMB_BYTES, "gzip")
    stage.alert(1, partition=partition, onset_offset=0)
    for _ in range(TRIES):
        assert confined(stage).wait(90) != 0
    last = confined(stage)

    assert told(stage, 1, "failed").rule == "ends_trainer"

    stage.publish(N_AFTER, turned=True)
    stage.alert(2, partition=partition, onset_offset=3 * N_BEFORE + 2)
    assert told(stage, 2, "started").numbers["rows"] == N_AFTER
    assert told(stage, 2, "promoted").challenger == "2"
    assert last.poll() is None


def confined(stage: Stage) -> subprocess.Popen[bytes]:
    """A trainer with as much room as a container may have; it reads nothing before the onset."""
    trainer = stage.start(
        DRIFTLINE_TRAINER__DECISION__COOLDOWN_MS="0",
        DRIFTLINE_TRAINER__DECISION__LOOKBACK_RECORDS="0",
    )
    resource.prlimit(trainer.pid, resource.RLIMIT_DATA, (ROOM_BYTES, ROOM_BYTES))
    return trainer
