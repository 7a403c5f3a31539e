"""Reading on where owners ended: batch by batch, word left before each is unpacked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from stream_monitor.ingest.records import LogRecord, RecordBatch
from stream_monitor.runtime.agents import BatchAgent
from stream_monitor.runtime.caution import (
    KILLS,
    SKIPPED_AT_ONCE,
    TRIES,
    next_try,
    unpacked_before,
)
from stream_monitor.runtime.committer import Committer
from stream_monitor.runtime.packed import PackedBatch, PackedReader, Unreadable
from stream_monitor.runtime.partitions import Owned, Partitions
from stream_monitor.runtime.reader import Place, Trouble


class Unpacking:
    """Feeds the agent those partitions that are below their ``packed_until``."""

    def __init__(
        self,
        partitions: Partitions,
        reader: PackedReader,
        agent: BatchAgent,
        committer: Committer,
        *,
        on_trouble: Callable[[Trouble], Awaitable[None]],
        go_on: Callable[[Owned], Awaitable[None]],
    ) -> None:
        self._partitions = partitions
        self._reader = reader
        self._agent = agent
        self._committer = committer
        self._on_trouble = on_trouble
        self._go_on = go_on
        self._survived: dict[int, int] = {}

    async def look(self) -> None:
        """Read on, a batch of each partition in turn, until none is left or something is wrong."""
        while packed := [o for o in self._partitions if o.position < o.packed_until]:
            for owned in packed:
                if not await self._step(owned):
                    return
        await self.close()

    async def close(self) -> None:
        """Let the connections go."""
        await self._reader.close()

    async def _step(self, owned: Owned) -> bool:
        """One batch; answers whether the next may be asked for at once."""
        found = await self._reader.fetch(owned.partition, Place(owned.tag, owned.position))
        if isinstance(found, PackedBatch):
            found = await self._hand_over(owned, found)
        elif found is None:  # the end of the log: nothing that was read before lies beyond
            owned.packed_until = owned.position
        if found is not None:
            await self._on_trouble(found)
            return False
        if owned.position >= owned.packed_until:
            await self._go_on(owned)
        return True

    async def _hand_over(self, owned: Owned, packed: PackedBatch) -> Trouble | None:
        """Unpack a batch and let it be folded in, unless that has ended too many."""
        async with self._agent.lock:
            if owned.lost() or owned.tag != packed.tag or owned.position != packed.start:
                return None
            if packed.compressed and not await self._may_unpack(owned, packed):
                return None
            try:
                batch = await asyncio.to_thread(packed.unpack)
            except Unreadable as error:
                return Trouble(packed.partition, packed.tag, packed.start, "unreadable", str(error))
            self._survived[owned.partition] = packed.last
            if not owned.lost():
                await self._agent.take(owned, batch)
            return None

    async def _may_unpack(self, owned: Owned, packed: PackedBatch) -> bool:
        """Leave word of a batch before it is unpacked; or skip it, for it ended `TRIES` workers."""
        if unpacked_before(packed.start, packed.last, owned.tried):
            return True
        if not await self._committer.commit(owned):
            return False
        survived = self._survived.get(owned.partition) == packed.last
        tried = next_try(packed.last, None if survived else owned.tried, unpacking=True)
        if tried.times > TRIES:
            await self._skip(owned, packed)
            return False
        return await self._committer.mark(owned, tried)

    async def _skip(self, owned: Owned, packed: PackedBatch) -> None:
        """Its first records; those behind them when they are asked for."""
        why = f"{TRIES} workers ended while they unpacked the batch with it, alone"
        for offset in range(packed.start, min(packed.last + 1, packed.start + SKIPPED_AT_ONCE)):
            single = RecordBatch(packed.topic, packed.partition, packed.tag, offset, offset + 1,
                                 [LogRecord(offset, 0, None, None)])  # fmt: skip
            await self._agent.skip(owned, single, KILLS, why)
        await self._committer.commit(owned)
        owned.careful_until = owned.position  # found: records behind it need not be alone
