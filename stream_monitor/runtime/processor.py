"""Processes batches: applies each to the state of its partition and commits the results."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Final, cast

import structlog

from producer.failpoints import failpoint
from stream_monitor.contracts import DeadLetter
from stream_monitor.core.observation import Steps
from stream_monitor.ingest.records import RecordBatch
from stream_monitor.metrics import Metrics
from stream_monitor.runtime.committer import Committer
from stream_monitor.runtime.outbound_records import dead_letter_record
from stream_monitor.runtime.partitions import OwnedPartition, OwnedPartitions
from stream_monitor.runtime.pauses import MAX_RUN_S, Pauses
from stream_monitor.runtime.poison_records import (
    MAX_ATTEMPTS,
    POISON_RECORD,
    UNREADABLE,
    dead_letter_by_reference,
    next_attempt,
    split_batch,
    unread_record,
)
from stream_monitor.runtime.poison_rows import (
    MAX_POISON_ROWS,
    is_tried_by_row,
    next_row_attempt,
    observe_by_row,
)
from stream_monitor.runtime.publisher import Publisher
from stream_monitor.runtime.reader import ReadFailure
from stream_monitor.settings import DeadLetterSettings
from stream_monitor.state.partition_state import BatchResult
from stream_monitor.state.store import AttemptMarker

log = structlog.get_logger(__name__)

COMMIT_CHECK_INTERVAL_S: Final = 0.05
"""How often partitions without new records are checked for a due commit."""


class BatchProcessor:
    """Processes one batch at a time; other tasks commit only while they hold ``lock``."""

    def __init__(
        self,
        partitions: OwnedPartitions,
        committer: Committer,
        publisher: Publisher,
        metrics: Metrics,
        *,
        dead_letters: str,
        limit: DeadLetterSettings,
        on_limit: Callable[[OwnedPartition, str], Awaitable[None]],
        max_run_s: float = MAX_RUN_S,
    ) -> None:
        self._partitions = partitions
        self._committer = committer
        self._publisher = publisher
        self._metrics = metrics
        self._dead_letters = dead_letters
        self._limit = limit
        self._on_limit = on_limit
        self._max_run_s = max_run_s
        self._last_processed: dict[int, int] = {}
        self._unreadable: dict[int, tuple[int, int]] = {}
        self.processed_s = 0.0
        """Time spent processing records since the start."""
        self.lock = asyncio.Lock()

    async def on_batch(self, batch: RecordBatch) -> OwnedPartition | None:
        """Process a batch; return its partition if it must be read again from its position."""
        async with self.lock:
            owned = self._partitions.current(batch)
            if owned is None:  # fetched before a rebalance or a seek
                self._metrics.dropped.labels("stale").inc()
                return None
            if batch.start != owned.position:
                self._metrics.dropped.labels("gap").inc()
                return owned
            await self.take(owned, batch)
        return None

    async def take(self, owned: OwnedPartition, batch: RecordBatch) -> None:
        """Process the next batch under the `lock`, record by record if a record is suspect."""
        if owned.position < owned.single_record_until and batch.records:
            await self._process_single_records(owned, batch)
            return
        await self._process(owned, batch)
        if self._committer.due(owned):
            await self._committer.commit(owned)

    async def on_unreadable(self, failure: ReadFailure) -> OwnedPartition | None:
        """Skip a record that `MAX_ATTEMPTS` fetches could not decompress.

        Returns the partition if the record was skipped and reading continues behind it.  The other
        records of the batch cannot be read either: each of them gets here in turn.
        """
        async with self.lock:
            owned = self._partitions.get(failure.partition)
            if (
                owned is None
                or owned.fetch_generation != failure.fetch_generation
                or owned.position != failure.position
            ):
                return None  # earlier records come first; the reader reports it again
            at, times = self._unreadable.get(owned.partition, (-1, 0))
            times = times + 1 if at == owned.position else 1
            self._unreadable[owned.partition] = owned.position, times
            if times < MAX_ATTEMPTS:
                return None
            single = unread_record(owned, owned.position)
            _log_skipped(single, UNREADABLE, failure.detail)
            await self.skip(owned, single, UNREADABLE, failure.detail)
            return owned

    async def commit_due(self) -> None:
        """Commit the partitions whose commit is due, also without new records."""
        for owned in self._partitions:
            if self._committer.due(owned):
                async with self.lock:
                    if self._committer.due(owned):  # no other task has committed it meanwhile
                        await self._committer.commit(owned)

    async def _process(self, owned: OwnedPartition, batch: RecordBatch) -> None:
        started, pauses = time.perf_counter(), Pauses(self._max_run_s)
        steps = owned.partition_state.observe_in_steps(batch)
        try:
            while (observed := _next_result(steps)) is None:
                await pauses.after_step()
                if owned.is_lost():
                    return
        except BaseException:  # a cancellation; a panic of River's Rust is not an Exception
            self._partitions.drop(owned)  # its state is undefined and must not be committed
            raise
        took_s = time.perf_counter() - started - pauses.paused_s
        self.processed_s += took_s
        self._metrics.processing.inc(took_s)
        await self._take_results(owned, batch, observed)

    async def _take_results(
        self, owned: OwnedPartition, batch: RecordBatch, observed: BatchResult
    ) -> None:
        """Note the results of a batch, and publish its dead letters unless they exceed a limit."""
        self._advance(owned, batch, observed)
        failpoint("monitor.batch.processed")
        rejected = [(one.offset, one.row) for one in observed.dead_letters]
        owned.rejections = owned.rejections.after(
            batch.records, rejected, self._limit.window_records, observed.batch_rows
        )
        enough = owned.rejections.limit_exceeded(self._limit)
        if enough is None:
            await self._publish_dead_letters(owned, observed.dead_letters)
        else:
            await self._on_limit(owned, enough)

    async def _process_single_records(self, owned: OwnedPartition, batch: RecordBatch) -> None:
        """Process one record at a time, with an attempt marker before each."""
        for single in split_batch(batch, 1):
            if not await self._committer.commit(owned):
                return
            record = single.records[0]
            processed_here = self._last_processed.get(owned.partition) == record.offset
            before = owned.last_attempt
            if before is not None and is_tried_by_row(record, before):
                before = before.decremented() if processed_here else before
                if not await self._process_rows(owned, single, next_row_attempt(before)):
                    return
                continue
            attempt = next_attempt(record.offset, None if processed_here else before)
            if attempt.times > MAX_ATTEMPTS:
                why = f"{MAX_ATTEMPTS} workers ended while they processed this record alone"
                _log_skipped(single, POISON_RECORD, why)
                await self.skip(owned, single, POISON_RECORD, why)
                owned.single_record_until = owned.position  # the poison record is found
            elif await self._committer.write_attempt_marker(owned, attempt):
                await self._process(owned, single)
                self._last_processed[owned.partition] = record.offset  # even if its commit fails
        await self._committer.commit(owned)

    async def _process_rows(
        self, owned: OwnedPartition, single: RecordBatch, attempt: AttemptMarker
    ) -> bool:
        """Process a batch of events row by row; false if the partition was lost meanwhile."""
        record = single.records[0]
        if attempt.times > MAX_ATTEMPTS or len(attempt.skipped_rows) > MAX_POISON_ROWS:
            why = f"its rows ended workers: {[*attempt.skipped_rows]}; or decoding them did"
            _log_skipped(single, POISON_RECORD, why)
            await self.skip(owned, single, POISON_RECORD, why)
            owned.single_record_until = owned.position
            return True
        if not await self._committer.write_attempt_marker(owned, attempt):
            return False
        write_marker = partial(self._committer.write_attempt_marker, owned)
        try:
            observed = await observe_by_row(owned.partition_state, single, attempt, write_marker)
        except BaseException:
            self._partitions.drop(owned)
            raise
        if observed is None or owned.is_lost():
            return False
        await self._take_results(owned, single, observed)
        self._last_processed[owned.partition] = record.offset
        for row in attempt.skipped_rows:
            if row < observed.batch_rows[record.offset]:
                why = f"{MAX_ATTEMPTS} workers ended while they processed this row alone"
                _log_skipped(single, POISON_RECORD, why, row)
                await self._dead_letter_by_reference(owned, single, POISON_RECORD, why, row)
                owned.single_record_until = owned.position  # the poison row is found
        return True

    async def skip(self, owned: OwnedPartition, single: RecordBatch, reason: str, why: str) -> None:
        """Skip a record without processing it; its dead letter refers to it by offset."""
        await self._dead_letter_by_reference(owned, single, reason, why)
        owned.advance(single.next, time.monotonic())

    async def _dead_letter_by_reference(
        self,
        owned: OwnedPartition,
        single: RecordBatch,
        reason: str,
        why: str,
        row: int | None = None,
    ) -> None:
        """Count a skipped record, or a row of it, and publish its dead letter."""
        record = single.records[0]
        owned.partition_state.skip(record)
        dead_letter = dead_letter_by_reference(single, record, reason, why, row)
        self._metrics.observed((), (dead_letter,))
        await self._publish_dead_letters(owned, (dead_letter,))

    def _advance(self, owned: OwnedPartition, batch: RecordBatch, observed: BatchResult) -> None:
        """Note in the partition and the metrics what a batch gave."""
        now = time.monotonic()
        owned.advance(batch.next, now)
        if batch.records:
            owned.last_record_s = now
        owned.outbox.update(observed.outbox)
        owned.urgent = owned.urgent or observed.urgent
        self._metrics.records.labels(str(batch.partition)).inc(len(batch.records))
        self._metrics.batch_records.observe(len(batch.records))
        self._metrics.observed(observed.alerts, observed.dead_letters)
        for control in observed.controls:
            log.info("control record", partition=batch.partition, **control._asdict())

    async def _publish_dead_letters(
        self, owned: OwnedPartition, dead_letters: Iterable[DeadLetter]
    ) -> None:
        """Publish dead letters; the next commit waits for their acknowledgements."""
        for dead_letter in dead_letters:
            value, headers = dead_letter_record(dead_letter)
            owned.dead_letter_acks.append(
                await self._publisher.publish(self._dead_letters, value=value, headers=headers)
            )


def _next_result(steps: Steps[BatchResult]) -> BatchResult | None:
    """Take a step; the result after the last one."""
    try:
        next(steps)
    except StopIteration as end:
        return cast("BatchResult", end.value)
    return None


def _log_skipped(single: RecordBatch, reason: str, why: str, row: int | None = None) -> None:
    log.critical(
        "skipped a record",
        partition=single.partition,
        offset=single.records[0].offset,
        row=row,
        reason=reason,
        why=why,
    )
