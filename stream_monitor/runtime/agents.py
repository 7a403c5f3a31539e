"""The one agent: a batch goes through the core, what it led to becomes durable."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import structlog

from producer.failpoint import failpoint
from stream_monitor.contracts import DeadLetter
from stream_monitor.ingest.records import RecordBatch
from stream_monitor.runtime.caution import (
    KILLS,
    TRIES,
    UNREADABLE,
    by_reference,
    next_try,
    pieces,
    unseen,
)
from stream_monitor.runtime.committer import Committer
from stream_monitor.runtime.dead_letter_limit import DeadLetterLimit
from stream_monitor.runtime.letters import dead_letter
from stream_monitor.runtime.partitions import Owned, Partitions
from stream_monitor.runtime.publisher import Publisher
from stream_monitor.runtime.reader import Trouble
from stream_monitor.state.fold import Observed
from stream_monitor.web.metrics import Metrics

log = structlog.get_logger(__name__)

COMMIT_EVERY_S: Final = 0.05
"""How often partitions without new records are looked at."""


class BatchAgent:
    """Takes batches one at a time; ``lock`` keeps commits by others out meanwhile."""

    def __init__(
        self,
        partitions: Partitions,
        committer: Committer,
        publisher: Publisher,
        metrics: Metrics,
        *,
        dead_letters: str,
        limit: DeadLetterLimit,
        on_limit: Callable[[Owned, str], Awaitable[None]],
    ) -> None:
        self._partitions = partitions
        self._committer = committer
        self._publisher = publisher
        self._metrics = metrics
        self._dead_letters = dead_letters
        self._limit = limit
        self._on_limit = on_limit
        self._survived: dict[int, int] = {}
        self._unreadable: dict[int, tuple[int, int]] = {}
        self.lock = asyncio.Lock()

    async def on_batch(self, batch: RecordBatch) -> Owned | None:
        """Fold a batch in; answers the partition if it has to be read from its position again."""
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

    async def take(self, owned: Owned, batch: RecordBatch) -> None:
        """Fold in what comes next, under the `lock`: at once, or record by record."""
        if owned.position < owned.careful_until and batch.records:
            await self._carefully(owned, batch)
            return
        await self._fold(owned, batch)
        if self._committer.due(owned):
            await self._committer.commit(owned)

    async def on_unreadable(self, trouble: Trouble) -> Owned | None:
        """Skip what `TRIES` fetches could not unpack; answers the partition to read on then.

        Records packed with it are not to be had either: they come here one after the other.
        """
        async with self.lock:
            owned = self._partitions.get(trouble.partition)
            if owned is None or owned.tag != trouble.tag or owned.position != trouble.position:
                return None  # what lies before it is not folded in yet: it will be told again
            at, times = self._unreadable.get(owned.partition, (-1, 0))
            times = times + 1 if at == owned.position else 1
            self._unreadable[owned.partition] = owned.position, times
            if times < TRIES:
                return None
            single = unseen(owned, owned.position)
            _say(single, UNREADABLE, trouble.detail)
            await self.skip(owned, single, UNREADABLE, trouble.detail)
            return owned

    async def commit_due(self) -> None:
        """Commit what waits although no record comes."""
        for owned in self._partitions:
            if self._committer.due(owned):
                async with self.lock:
                    if self._committer.due(owned):  # not done while we waited
                        await self._committer.commit(owned)

    async def _fold(self, owned: Owned, batch: RecordBatch) -> None:
        observed = self._observe(owned, batch)
        failpoint("monitor.batch.folded")
        rejected = [letter.offset for letter in observed.dead_letters]
        window = self._limit.window_records
        owned.rejections = owned.rejections.after(batch.records, rejected, window)
        enough = self._limit.broken_by(owned.rejections)
        if enough is None:
            await self._write_letters(owned, observed.dead_letters)
        else:
            await self._on_limit(owned, enough)

    async def _carefully(self, owned: Owned, batch: RecordBatch) -> None:
        """One record at a time: whichever ends the process, the store knows which it was."""
        for single in pieces(batch, 1):
            if not await self._committer.commit(owned):
                return
            record = single.records[0]
            survived = self._survived.get(owned.partition) == record.offset
            tried = next_try(record.offset, None if survived else owned.tried)
            if tried.times > TRIES:
                why = f"{TRIES} workers ended while they folded it in, alone"
                _say(single, KILLS, why)
                await self.skip(owned, single, KILLS, why)
                owned.careful_until = owned.position  # found: go on as usual
            elif await self._committer.mark(owned, tried):
                await self._fold(owned, single)
                self._survived[owned.partition] = record.offset  # whatever becomes of its commit
        await self._committer.commit(owned)

    async def skip(self, owned: Owned, single: RecordBatch, reason: str, why: str) -> None:
        """Go on behind a record without a look at it; its dead letter refers to it."""
        record = single.records[0]
        owned.fold.skip(record)
        owned.advance(single.next, time.monotonic())
        letter = by_reference(single, record, reason, why)
        self._metrics.observed((), (letter,))
        await self._write_letters(owned, (letter,))

    def _observe(self, owned: Owned, batch: RecordBatch) -> Observed:
        started = time.perf_counter()
        try:
            observed = owned.fold.observe(batch)
        except BaseException:  # also a panic of River's Rust: it is no Exception
            self._partitions.drop(owned)  # its state is undefined: nothing may commit it
            raise
        now = time.monotonic()
        owned.advance(batch.next, now)
        if batch.records:
            owned.last_record_s = now
        owned.outbox.update(observed.outbox)
        owned.urgent = owned.urgent or observed.urgent
        self._metrics.processing.inc(time.perf_counter() - started)
        self._metrics.records.labels(str(batch.partition)).inc(len(batch.records))
        self._metrics.batch_records.observe(len(batch.records))
        self._metrics.observed(observed.alerts, observed.dead_letters)
        for control in observed.controls:
            log.info("control record", partition=batch.partition, **control._asdict())
        return observed

    async def _write_letters(self, owned: Owned, letters: Iterable[DeadLetter]) -> None:
        """Their acknowledgements are awaited by the commit."""
        for letter in letters:
            value, headers = dead_letter(letter)
            owned.letters.append(
                await self._publisher.publish(self._dead_letters, value=value, headers=headers)
            )


def _say(single: RecordBatch, reason: str, why: str) -> None:
    log.critical("skipped a record", partition=single.partition, offset=single.records[0].offset,
                 reason=reason, why=why)  # fmt: skip
