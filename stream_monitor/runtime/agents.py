"""The one agent: a batch goes through the core, what it led to becomes durable."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from producer.failpoint import failpoint
from stream_monitor.ingest.records import RecordBatch
from stream_monitor.runtime.committer import Committer
from stream_monitor.runtime.letters import dead_letter
from stream_monitor.runtime.partitions import Owned, Partitions
from stream_monitor.runtime.publisher import Publisher
from stream_monitor.state.fold import Observed
from stream_monitor.web.metrics import Metrics

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
    ) -> None:
        self._partitions = partitions
        self._committer = committer
        self._publisher = publisher
        self._metrics = metrics
        self._dead_letters = dead_letters
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
            observed = self._observe(owned, batch)
            failpoint("monitor.batch.folded")
            await self._write_letters(owned, observed)
            if self._committer.due(owned):
                await self._committer.commit(owned)
        return None

    async def commit_due(self) -> None:
        """Commit what waits although no record comes."""
        for owned in self._partitions:
            if self._committer.due(owned):
                async with self.lock:
                    if self._committer.due(owned):  # not done while we waited
                        await self._committer.commit(owned)

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
        return observed

    async def _write_letters(self, owned: Owned, observed: Observed) -> None:
        """Their acknowledgements are awaited by the commit."""
        for letter in observed.dead_letters:
            value, headers = dead_letter(letter)
            owned.letters.append(
                await self._publisher.publish(self._dead_letters, value=value, headers=headers)
            )
