"""Reading on where owners ended: batch by batch, word left before each is unpacked."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from stream_monitor.runtime.agents import BatchAgent
from stream_monitor.runtime.caution import (
    FOLDED_AT_ONCE,
    KILLS,
    SKIPPED_AT_ONCE,
    TRIES,
    UNREADABLE,
    next_try,
    pieces,
    unseen,
)
from stream_monitor.runtime.committer import Committer
from stream_monitor.runtime.packed import PackedBatch, PackedReader, Unreadable
from stream_monitor.runtime.partitions import Owned, Partitions
from stream_monitor.runtime.reader import Place, Trouble

log = structlog.get_logger(__name__)

PAUSE_S: Final = 1.0
"""After a fetch that failed, before the next of the same partition."""


class Unpacking:
    """Feeds the agent those partitions that are below their ``packed_until``.

    Whatever it does to a partition it does under the agent's lock, and looks there whether the
    partition is still ours and stands where it stood: others have a turn while it waits.
    """

    def __init__(
        self,
        partitions: Partitions,
        reader: PackedReader,
        agent: BatchAgent,
        committer: Committer,
        *,
        on_trouble: Callable[[Trouble], Awaitable[None]],
        go_on: Callable[[Owned], Awaitable[None]],
        pause_s: float = PAUSE_S,
    ) -> None:
        self._partitions = partitions
        self._reader = reader
        self._agent = agent
        self._committer = committer
        self._on_trouble = on_trouble
        self._go_on = go_on
        self._pause_s = pause_s
        self._not_before_s: dict[int, float] = {}
        self._ends: dict[int, int] = {}
        self._unreadable: Counter[tuple[int, int]] = Counter()

    async def look(self) -> None:
        """Read on, a batch of each partition in turn, until none is left or all have to wait."""
        if not self._packed():
            await self.close()
        while ready := [o for o in self._packed() if self._may_read(o)]:
            for owned in ready:
                await self._step(owned)

    def lags(self) -> dict[int, int]:
        """Records between our position and the end of each partition, as last heard."""
        return {
            owned.partition: max(0, self._ends[owned.partition] - owned.position)
            for owned in self._packed()
            if owned.partition in self._ends
        }

    async def close(self) -> None:
        """Let the connections go."""
        await self._reader.close()

    def _packed(self) -> list[Owned]:
        return [owned for owned in self._partitions if owned.position < owned.packed_until]

    def _may_read(self, owned: Owned) -> bool:
        return time.monotonic() >= self._not_before_s.get(owned.partition, 0.0)

    async def _step(self, owned: Owned) -> None:
        """One batch."""
        place = Place(owned.tag, owned.position)
        found = await self._reader.fetch(owned.partition, place)
        if owned.lost() or place != (owned.tag, owned.position):
            return
        if isinstance(found, Trouble):
            self._not_before_s[owned.partition] = time.monotonic() + self._pause_s
            await self._on_trouble(found)
            return
        if found is None:  # the end of the log: nothing that was read before lies beyond
            owned.packed_until = owned.careful_until = owned.position
        else:
            self._ends[owned.partition] = found.end
            await self._fold_in(owned, found)
        if not owned.lost() and owned.position >= owned.packed_until:
            await self._go_on(owned)

    async def _fold_in(self, owned: Owned, packed: PackedBatch) -> None:
        """Unpack a batch and let it be folded in, unless that has ended too many."""
        if packed.compressed and not await self._leave_word(owned, packed):
            return
        try:
            batch = await asyncio.to_thread(packed.unpack)
        except Unreadable as error:
            await self._take_word_back(owned)
            await self._on_unreadable(owned, packed, str(error))
            return
        except MemoryError:
            owned.unpacking = None  # it is what ends us: the word of it stays
            raise
        await self._take_word_back(owned)
        for piece in pieces(batch, FOLDED_AT_ONCE):
            async with self._agent.lock:
                if not _stands_at(owned, piece.start, packed.tag):
                    return
                await self._agent.take(owned, piece)

    async def _leave_word(self, owned: Owned, packed: PackedBatch) -> bool:
        """Of a batch before it is unpacked; or skip it, for it ended `TRIES` workers."""
        async with self._agent.lock:
            if not _stands_at(owned, packed.start, packed.tag):
                return False
            if not await self._committer.commit(owned):
                return False
            tried = next_try(packed.last, owned.tried, unpacking=True)
            if tried.times <= TRIES:
                if not await self._committer.mark(owned, tried):
                    return False
                owned.unpacking = tried
                return True
        why = f"{TRIES} workers ended while they unpacked the batch with it, alone"
        await self._skip(owned, packed, KILLS, why)
        return False

    async def _take_word_back(self, owned: Owned) -> None:
        """We have survived it: whoever died, died by chance.

        Whoever has given the partition up meanwhile has taken ours back.
        """
        async with self._agent.lock:
            left, owned.unpacking = owned.unpacking, None
            if left is not None and not owned.lost():
                await self._committer.mark(owned, left._replace(times=0))

    async def _on_unreadable(self, owned: Owned, packed: PackedBatch, why: str) -> None:
        """Skip what `TRIES` fetches could not unpack."""
        at = owned.partition, packed.start
        self._unreadable[at] += 1
        if self._unreadable[at] >= TRIES:
            del self._unreadable[at]
            await self._skip(owned, packed, UNREADABLE, why)

    async def _skip(self, owned: Owned, packed: PackedBatch, reason: str, why: str) -> None:
        """A batch, with all that was packed together; a commit now and then."""
        log.critical("skipping a batch", partition=owned.partition, first=packed.first,
                     last=packed.last, reason=reason, why=why)  # fmt: skip
        at, start = packed.first, packed.start
        while at <= packed.last:
            async with self._agent.lock:
                if not _stands_at(owned, start, packed.tag):
                    return
                upto = min(packed.last + 1, at + SKIPPED_AT_ONCE)
                for offset in range(at, upto):
                    await self._agent.skip(owned, unseen(owned, offset), reason, why)
                if not await self._committer.commit(owned):
                    return
            at = start = upto
        owned.careful_until = owned.position  # found: records behind it need not be alone


def _stands_at(owned: Owned, position: int, tag: str) -> bool:
    return not owned.lost() and owned.tag == tag and owned.position == position
