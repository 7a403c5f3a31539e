"""Only the poison row of a batch is skipped: attempt markers find it, others are applied once."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import Collection, Mapping
from typing import Any, Final

import msgspec
import pytest

from producer.arrow_batch import pack
from producer.events import InferenceEvent
from producer.failpoints import EXIT_CODE
from stream_monitor.contracts import DeadLetter
from stream_monitor.core.observation import Steps
from stream_monitor.ingest.event_columns import EventColumns
from stream_monitor.ingest.event_numbers import NumberedRecords
from stream_monitor.ingest.records import ConsumerRecord, RecordBatch
from stream_monitor.runtime.poison_records import MAX_ATTEMPTS, POISON_RECORD
from stream_monitor.runtime.poison_rows import MAX_POISON_ROWS
from stream_monitor.runtime.processor import BatchProcessor
from stream_monitor.state.partition_state import (
    STATE,
    BatchResult,
    PartitionState,
    PartitionStateFactory,
)
from stream_monitor.state.redis_store import partition_key
from tests.builders import inference_event
from tests.chaos.guarded_fetch_worker import TOPIC, Death, GuardedFetchWorker, Log
from tests.integration.monitor_harness import (
    MODELS,
    MonitorHarness,
    assert_undisturbed,
    log_of,
    until,
)
from tests.integration.oracle import FATAL_PREDICTION
from tests.integration.read_topic import read_topic
from tests.integration.test_monitor_kill import in_batches
from tests.memory_store import InMemoryStateStore
from tests.properties.partition_logs import SPEC

NOON: Final = 1_711_800_000_000
ROWS: Final = 6
FACTORY: Final = PartitionStateFactory(SPEC, "driftline")


def batch_at(offset: int) -> ConsumerRecord:
    """A record of `ROWS` events."""
    ids = range(offset * ROWS, (offset + 1) * ROWS)
    events = [inference_event(f"e{i}", {"x": i / 7}, i, time_ms=NOON + i) for i in ids]
    return ConsumerRecord(offset, NOON + 10_000, None, pack(events).value, b"m")


class CrashingState(PartitionState):
    """Ends the process at events with these predictions."""

    fatal: Collection[int] = ()

    def observe_in_steps(self, batch: RecordBatch) -> Steps[BatchResult]:
        if self.fatal and any(r.offset == min(self.fatal) // ROWS for r in batch.records):
            raise Death
        return (yield from super().observe_in_steps(batch))

    def observe_rows(self, rows: NumberedRecords, offset: int) -> BatchResult:
        for _, event in rows.records:
            if isinstance(event, EventColumns) and set(event.predictions) & {*self.fatal}:
                raise Death
        return super().observe_rows(rows, offset)


class CrashingFactory:
    """Makes `CrashingState`."""

    def __init__(self, fatal: Collection[int]) -> None:
        self.fatal = fatal

    def new(self, topic: str, partition: int) -> PartitionState:
        return self._armed(FACTORY.new(topic, partition))

    def restore(self, topic: str, partition: int, fields: Mapping[str, bytes]) -> PartitionState:
        return self._armed(FACTORY.restore(topic, partition, fields))

    def _armed(self, plain: PartitionState) -> PartitionState:
        state = CrashingState(plain.monitor, FACTORY.prefix)
        state.fatal = self.fatal
        return state


async def run(
    log: list[ConsumerRecord], fatal: Collection[int], published: list[DeadLetter]
) -> tuple[int, dict[str, bytes]]:
    """Workers read, each until it ends; returns how many ended, and the stored state."""
    store = InMemoryStateStore()
    for deaths in range(4 * MAX_ATTEMPTS * (MAX_POISON_ROWS + 1)):
        worker = GuardedFetchWorker(store, Log({}), f"w{deaths}", folds=CrashingFactory(fatal))
        _collect(worker.processor, published)
        await worker.ownership.take([0], deaths)
        owned = worker.owned(0)
        rest = [record for record in log if record.offset >= owned.position]
        batch = RecordBatch(
            TOPIC, 0, owned.fetch_generation, owned.position, log[-1].offset + 1, rest
        )
        with contextlib.suppress(Death):
            await worker.processor.on_batch(batch)
            assert await worker.committer.commit(owned)
            fields = store.hashes[partition_key(TOPIC, 0)]
            return deaths, {name: v for name, v in fields.items() if name.startswith(STATE) and v}
    raise AssertionError("no worker reached the end")


def _collect(processor: BatchProcessor, published: list[DeadLetter]) -> None:
    plain = processor._publish_dead_letters

    async def publish(owned: Any, dead_letters: Any) -> None:
        published.extend(dead_letters)
        await plain(owned, dead_letters)

    processor._publish_dead_letters = publish  # type: ignore[method-assign]


def without_rows(log: list[ConsumerRecord], fatal: Collection[int]) -> dict[str, bytes]:
    """The state of an undisturbed run that skips these rows."""
    state = FACTORY.new(TOPIC, 0)
    for record in log:
        batch = RecordBatch(TOPIC, 0, "", record.offset, record.offset + 1, [record])
        for row, part in state.decode_rows(batch):
            if record.offset * ROWS + row in fatal:
                state.skip(record)
            else:
                state.observe_rows(part, record.offset)
    return {name: value for name, value in state.take_changes().items() if value}


@pytest.mark.parametrize("row", [0, 2, ROWS - 1])
def test_only_the_row_that_ends_workers_is_skipped(row: int) -> None:
    log, fatal = [batch_at(offset) for offset in range(4)], {ROWS + row}
    dead_letters: list[DeadLetter] = []

    deaths, state = asyncio.run(run(log, fatal, dead_letters))

    assert {(one.dead_letter_id, one.reason) for one in dead_letters} == {
        (f"{TOPIC}:0:1:{row}", POISON_RECORD)
    }
    assert state == without_rows(log, fatal)
    assert deaths == 2 * MAX_ATTEMPTS + 1  # at the offset before it, once whole, and as a row


def test_several_rows_of_a_record_are_found_one_after_the_other() -> None:
    log, fatal = [batch_at(offset) for offset in range(3)], {ROWS + 1, ROWS + 2, ROWS + 5}
    dead_letters: list[DeadLetter] = []

    _, state = asyncio.run(run(log, fatal, dead_letters))

    assert {one.row for one in dead_letters} == {1, 2, 5}
    assert state == without_rows(log, fatal)


def test_a_record_with_too_many_such_rows_is_skipped_whole() -> None:
    log, fatal = [batch_at(offset) for offset in range(3)], set(range(ROWS, 2 * ROWS))
    dead_letters: list[DeadLetter] = []

    deaths, _ = asyncio.run(run(log, fatal, dead_letters))

    assert {one.dead_letter_id for one in dead_letters} == {f"{TOPIC}:0:1"}
    assert deaths <= MAX_ATTEMPTS + 1 + MAX_ATTEMPTS * (MAX_POISON_ROWS + 1)


ONE_MEMBER: Final = {"DRIFTLINE_KAFKA__GROUP_INSTANCE_ID": "one"}
"""A worker under the same name takes the place of a dead one before its session ends."""


@pytest.mark.kafka
@pytest.mark.long
def test_a_real_worker_finds_the_row_that_ends_it(harness: MonitorHarness) -> None:
    log = in_batches(list(log_of(MODELS[0], 1, 600)))
    fatal: InferenceEvent = inference_event(
        "end", {"temp": 60.0, "age": 40.0, "plan": "pro"}, FATAL_PREDICTION, model=MODELS[0]
    )
    around = [
        inference_event(
            f"b{i}", {"temp": 60.0 + i, "age": 40.0, "plan": "pro"}, 0.5, model=MODELS[0]
        )
        for i in range(9)
    ]
    log.insert(len(log) // 2, pack([*around[:4], fatal, *around[4:]]).value)
    harness.produce(MODELS[0], log)
    deaths = 0
    while not (done := harness.drained(len(log))) and deaths <= 4 * MAX_ATTEMPTS:
        worker = harness.start(program="tests.chaos.crashing_worker", **ONE_MEMBER)
        until(lambda: worker.poll() is not None or harness.drained(len(log)), "read or ended")  # noqa: B023
        if worker.poll() is not None:
            assert worker.returncode == EXIT_CODE
            deaths += 1
    assert done or harness.drained(len(log))
    with contextlib.suppress(subprocess.TimeoutExpired):
        harness.monitors[-1].terminate()
        assert harness.monitors[-1].wait(60) == 0

    skipped = [
        msgspec.json.decode(message.value() or b"", type=DeadLetter)
        for message in read_topic(harness.broker, harness.topics.dead_letters)
    ]
    assert {one.row for one in skipped if one.reason == POISON_RECORD} == {4}
    assert deaths == 2 * MAX_ATTEMPTS + 1
    assert_undisturbed(harness)
