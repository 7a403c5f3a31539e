"""Records that wait for their counterpart: predictions for labels, or labels for predictions.

Entries are stored by chunks of offsets, so that a commit writes only the chunks that changed.  All
methods are deterministic in the order of their calls, also after a restore.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from itertools import repeat
from typing import Any, TypeAlias

import msgspec

PendingEntry: TypeAlias = tuple[int, int, str, Any]
"""Chunk, event time (ms), version, and value.  A label's version is empty.

A plain tuple, which C code can build: there are hundreds of thousands.
"""


@dataclass(slots=True)
class _Chunk:
    """A chunk: ``ids`` may contain removed ones; ``live`` is the number of the others."""

    latest_ms: int
    live: int = 0
    ids: list[int] = field(default_factory=list)


class PendingChunk(msgspec.Struct, frozen=True, array_like=True):
    """The entries of a chunk as columns of equal length; ``codes`` are indices of ``versions``."""

    latest_ms: int
    ids: list[int]
    times_ms: list[int]
    versions: list[str]
    codes: list[int]
    values: list[Any]

    def __post_init__(self) -> None:
        if not self.ids or len({*map(len, (self.ids, self.times_ms, self.codes, self.values))}) > 1:
            raise ValueError("labels: the columns of a chunk differ in length")
        if max(self.times_ms) > self.latest_ms or not 0 <= min(self.codes) <= max(self.codes) < len(
            self.versions
        ):
            raise ValueError("labels: the columns of a chunk do not fit together")


class PendingRecords:
    """Entries by the 64-bit hash of their id; one entry per id."""

    def __init__(self) -> None:
        self.entries: dict[int, PendingEntry] = {}
        self._chunks: dict[int, _Chunk] = {}
        self._closed: list[tuple[int, int]] = []  # heap of (latest_ms, chunk)
        self._has_changes: set[int] = set()

    def __len__(self) -> int:
        return len(self.entries)

    def add(self, id_hash: int, chunk: int, time_ms: int, version: str, value: object) -> None:
        """Add an entry to the current chunk.  The id must not be waiting."""
        self.entries[id_hash] = (chunk, time_ms, version, value)
        known = self._grow(chunk, time_ms)
        known.ids.append(id_hash)
        known.live += 1

    def add_all(
        self,
        ids: Sequence[int],
        chunk: int,
        times_ms: Sequence[int],
        versions: Sequence[str],
        values: Sequence[object],
    ) -> None:
        """Add entries to the current chunk.  Ids must differ, and none may be waiting."""
        rows = zip(repeat(chunk), times_ms, versions, values)
        self.entries.update(zip(ids, rows, strict=True))
        known = self._grow(chunk, max(times_ms))
        known.ids += ids
        known.live += len(ids)

    def _grow(self, chunk: int, time_ms: int) -> _Chunk:
        self._has_changes.add(chunk)
        known = self._chunks.get(chunk)
        if known is None:
            known = self._chunks[chunk] = _Chunk(time_ms)
        elif time_ms > known.latest_ms:
            known.latest_ms = time_ms
        return known

    def pop(self, id_hash: int) -> None:
        """Remove the entry of an id that waits."""
        chunk = self.entries.pop(id_hash)[0]
        known = self._chunks[chunk]
        known.live -= 1
        if not known.live:
            del self._chunks[chunk]
        self._has_changes.add(chunk)

    def close_chunk(self, chunk: int) -> None:
        """Close ``chunk`` to further entries: from now on it may expire."""
        known = self._chunks.get(chunk)
        if known is not None:
            heappush(self._closed, (known.latest_ms, chunk))

    def expire(self, until_ms: int) -> int:
        """Remove closed chunks with no entry later than ``until_ms``; returns how many entries."""
        before = len(self.entries)
        while self._closed and self._closed[0][0] <= until_ms:
            _, chunk = heappop(self._closed)
            known = self._chunks.pop(chunk, None)
            if known is None:
                continue  # all of its entries have been removed
            for id_hash in self._ids(chunk, known):
                del self.entries[id_hash]
            self._has_changes.add(chunk)
        return before - len(self.entries)

    def thin(self, below: int) -> int:
        """Keep only ids whose hash is below a threshold; returns how many were removed."""
        leaving = [id_hash for id_hash in self.entries if id_hash >= below]
        for id_hash in leaving:
            self.pop(id_hash)
        return len(leaving)

    def _ids(self, chunk: int, known: _Chunk) -> list[int]:
        """The ids that still wait in a chunk, sorted, so that their order has no history."""
        entries = self.entries
        if known.live == len(known.ids):  # none was removed
            return sorted(known.ids)
        return sorted(
            id_hash
            for id_hash in set(known.ids)
            if id_hash in entries and entries[id_hash][0] == chunk
        )

    def pending_changes(self) -> dict[str, PendingChunk | None]:
        """The chunks that changed since `mark_committed`, by number; ``None``: it was deleted."""
        return {
            str(chunk): self._columns(chunk, known) if (known := self._chunks.get(chunk)) else None
            for chunk in sorted(self._has_changes)
        }

    def _columns(self, chunk: int, known: _Chunk) -> PendingChunk:
        ids = self._ids(chunk, known)
        _, times_ms, versions, values = zip(*map(self.entries.__getitem__, ids), strict=True)
        names = sorted(set(versions))
        codes = {version: i for i, version in enumerate(names)}
        return PendingChunk(
            known.latest_ms,
            ids,
            list(times_ms),
            names,
            list(map(codes.__getitem__, versions)),
            list(values),
        )

    def mark_committed(self) -> None:
        """Mark what `pending_changes` returned as durable."""
        self._has_changes.clear()

    @classmethod
    def restore(cls, parts: Iterable[tuple[int, PendingChunk]], current: int) -> PendingRecords:
        """Continue; chunk ``current`` still grows.  Raises ValueError where chunks do not fit."""
        pending = cls()
        for chunk, of in parts:
            rows = zip(of.ids, of.times_ms, of.codes, of.values, strict=True)
            pending.entries.update((x, (chunk, ms, of.versions[i], v)) for x, ms, i, v in rows)
            pending._chunks[chunk] = _Chunk(of.latest_ms, len(of.ids), of.ids)
            if chunk != current:
                pending._closed.append((of.latest_ms, chunk))
        if len(pending.entries) != sum(known.live for known in pending._chunks.values()):
            raise ValueError("labels: an id waits twice")
        heapify(pending._closed)
        return pending
