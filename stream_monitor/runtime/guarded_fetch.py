"""Reads partitions whose owners crashed: single batches, with an attempt marker before each."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from stream_monitor.runtime.committer import Committer
from stream_monitor.runtime.partitions import OwnedPartition, OwnedPartitions
from stream_monitor.runtime.poison_detection import (
    MAX_ATTEMPTS,
    MAX_PROCESSED_RECORDS,
    MAX_SKIPPED_RECORDS,
    POISON_RECORD,
    UNREADABLE,
    next_attempt,
    split_batch,
    unread_record,
)
from stream_monitor.runtime.processor import BatchProcessor
from stream_monitor.runtime.raw_fetch import RawBatch, RawBatchReader, UnreadableBatch
from stream_monitor.runtime.reader import FetchPosition, ReadFailure

log = structlog.get_logger(__name__)

PAUSE_S: Final = 1.0
"""Pause after a failed fetch, before the next one of the partition."""


class GuardedFetch:
    """Fetches the partitions that are below their ``single_batch_until`` for the processor.

    It changes a partition only under the processor's lock, after a check that the worker still owns
    it at the same position: other tasks run while it waits.
    """

    def __init__(
        self,
        partitions: OwnedPartitions,
        reader: RawBatchReader,
        processor: BatchProcessor,
        committer: Committer,
        *,
        on_read_failure: Callable[[ReadFailure], Awaitable[None]],
        go_on: Callable[[OwnedPartition], Awaitable[None]],
        pause_s: float = PAUSE_S,
    ) -> None:
        self._partitions = partitions
        self._reader = reader
        self._processor = processor
        self._committer = committer
        self._on_read_failure = on_read_failure
        self._go_on = go_on
        self._pause_s = pause_s
        self._not_before_s: dict[int, float] = {}
        self._ends: dict[int, int] = {}
        self._unreadable: Counter[tuple[int, int]] = Counter()

    async def fetch_due(self) -> None:
        """Fetch a batch of each suspect partition in turn, until none is left or all must wait."""
        if not self._suspect_partitions():
            await self.close()
        while ready := [o for o in self._suspect_partitions() if self._may_read(o)]:
            for owned in ready:
                await self._step(owned)

    def lags(self) -> dict[int, int]:
        """Records between the position and the last known end of each partition."""
        return {
            owned.partition: max(0, self._ends[owned.partition] - owned.position)
            for owned in self._suspect_partitions()
            if owned.partition in self._ends
        }

    async def close(self) -> None:
        """Close the connections."""
        await self._reader.close()

    def _suspect_partitions(self) -> list[OwnedPartition]:
        return [owned for owned in self._partitions if owned.position < owned.single_batch_until]

    def _may_read(self, owned: OwnedPartition) -> bool:
        return time.monotonic() >= self._not_before_s.get(owned.partition, 0.0)

    async def _step(self, owned: OwnedPartition) -> None:
        """Fetch and process one batch of a partition."""
        position = FetchPosition(owned.fetch_generation, owned.position)
        found = await self._reader.fetch(owned.partition, position)
        if owned.is_lost() or position != (owned.fetch_generation, owned.position):
            return
        if isinstance(found, ReadFailure):
            self._not_before_s[owned.partition] = time.monotonic() + self._pause_s
            await self._on_read_failure(found)
            return
        if found is None:  # the end: a crash before came from no later record
            owned.single_batch_until = owned.single_record_until = owned.position
        else:
            self._ends[owned.partition] = found.end
            await self._process_raw_batch(owned, found)
        if not owned.is_lost() and owned.position >= owned.single_batch_until:
            await self._go_on(owned)

    async def _process_raw_batch(self, owned: OwnedPartition, raw_batch: RawBatch) -> None:
        """Decompress and process a batch, unless it has crashed too many workers."""
        if raw_batch.compressed and not await self._write_attempt_marker(owned, raw_batch):
            return
        try:
            batch = await asyncio.to_thread(raw_batch.decompress)
        except UnreadableBatch as error:
            await self._clear_attempt_marker(owned)
            await self._on_unreadable(owned, raw_batch, str(error))
            return
        except MemoryError:
            owned.attempt_marker = None  # the batch is the cause: its marker stays
            raise
        await self._clear_attempt_marker(owned)
        for piece in split_batch(batch, MAX_PROCESSED_RECORDS):
            async with self._processor.lock:
                if not _is_at(owned, piece.start, raw_batch.fetch_generation):
                    return
                await self._processor.take(owned, piece)

    async def _write_attempt_marker(self, owned: OwnedPartition, raw_batch: RawBatch) -> bool:
        """Store the marker of a batch; or skip the batch if it crashed `MAX_ATTEMPTS` workers."""
        async with self._processor.lock:
            if not _is_at(owned, raw_batch.start, raw_batch.fetch_generation):
                return False
            if not await self._committer.commit(owned):
                return False
            attempt = next_attempt(raw_batch.last, owned.last_attempt, decompressing=True)
            if attempt.times <= MAX_ATTEMPTS:
                if not await self._committer.write_attempt_marker(owned, attempt):
                    return False
                owned.attempt_marker = attempt
                return True
        why = f"{MAX_ATTEMPTS} workers ended while they decompressed the batch of this record"
        await self._skip(owned, raw_batch, POISON_RECORD, why)
        return False

    async def _clear_attempt_marker(self, owned: OwnedPartition) -> None:
        """Clear the marker: the batch was decompressed without a crash.

        A revocation in the meantime has already cleared it.
        """
        async with self._processor.lock:
            left, owned.attempt_marker = owned.attempt_marker, None
            if left is not None and not owned.is_lost():
                await self._committer.write_attempt_marker(owned, left._replace(times=0))

    async def _on_unreadable(self, owned: OwnedPartition, raw_batch: RawBatch, why: str) -> None:
        """Skip a batch that `MAX_ATTEMPTS` fetches could not decompress."""
        at = owned.partition, raw_batch.start
        self._unreadable[at] += 1
        if self._unreadable[at] >= MAX_ATTEMPTS:
            del self._unreadable[at]
            await self._skip(owned, raw_batch, UNREADABLE, why)

    async def _skip(
        self, owned: OwnedPartition, raw_batch: RawBatch, reason: str, why: str
    ) -> None:
        """Skip all records of a batch, with a commit every `MAX_SKIPPED_RECORDS` records."""
        log.critical(
            "skipping a batch",
            partition=owned.partition,
            first=raw_batch.first,
            last=raw_batch.last,
            reason=reason,
            why=why,
        )
        at, start = raw_batch.first, raw_batch.start
        while at <= raw_batch.last:
            async with self._processor.lock:
                if not _is_at(owned, start, raw_batch.fetch_generation):
                    return
                upto = min(raw_batch.last + 1, at + MAX_SKIPPED_RECORDS)
                for offset in range(at, upto):
                    await self._processor.skip(owned, unread_record(owned, offset), reason, why)
                if not await self._committer.commit(owned):
                    return
            at = start = upto
        owned.single_record_until = owned.position  # the cause is found


def _is_at(owned: OwnedPartition, position: int, fetch_generation: str) -> bool:
    return (
        not owned.is_lost()
        and owned.fetch_generation == fetch_generation
        and owned.position == position
    )
