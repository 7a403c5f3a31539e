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


class PendingRecords:
    """Entries by the 64-bit hash of their id; one entry per id."""

    def __init__(self) -> None:
        self.entries: dict[int, PendingEntry] = {}
        self._chunks: dict[int, _Chunk] = {}
        self._closed: list[tuple[int, int]] = []  # heap of (latest_ms, chunk)
        self._has_changes: set[int] = set()
        self._stored: set[int] = set()

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
        return sorted(
            id_hash
            for id_hash in set(known.ids)
            if id_hash in entries and entries[id_hash][0] == chunk
        )

    def pending_changes(self) -> dict[str, Any]:
        """The chunks that changed since `mark_committed`, by number; ``None``: it was deleted."""
        parts: dict[str, Any] = {}
        for chunk in sorted(self._has_changes):
            known = self._chunks.get(chunk)
            if known is not None:
                parts[str(chunk)] = self._snapshot(chunk, known)
            elif chunk in self._stored:
                parts[str(chunk)] = None
        return parts

    def _snapshot(self, chunk: int, known: _Chunk) -> list[Any]:
        ids = self._ids(chunk, known)
        _, times_ms, versions, values = zip(*[self.entries[x] for x in ids], strict=True)
        names = sorted(set(versions))
        codes = {version: i for i, version in enumerate(names)}
        return [
            known.latest_ms,
            ids,
            list(times_ms),
            names,
            [codes[version] for version in versions],
            list(values),
        ]

    def mark_committed(self) -> None:
        """Mark what `pending_changes` returned as durable."""
        for chunk in self._has_changes:
            if chunk in self._chunks:
                self._stored.add(chunk)
            else:
                self._stored.discard(chunk)
        self._has_changes.clear()

    @classmethod
    def restore(cls, parts: Iterable[tuple[int, Sequence[Any]]], current: int) -> PendingRecords:
        """Continue; chunk ``current`` still grows.  Raises ValueError where chunks do not fit."""
        pending = cls()
        for chunk, (latest_ms, ids, times_ms, versions, codes, values) in parts:
            if not ids or not len(ids) == len(times_ms) == len(codes) == len(values):
                raise ValueError(f"labels: the columns of chunk {chunk} differ in length")
            if max(times_ms) > latest_ms or not 0 <= min(codes) <= max(codes) < len(versions):
                raise ValueError(f"labels: the columns of chunk {chunk} do not fit together")
            for id_hash, time_ms, code, value in zip(ids, times_ms, codes, values, strict=True):
                if id_hash in pending.entries:
                    raise ValueError(f"labels: an id waits twice, once in chunk {chunk}")
                pending.entries[id_hash] = (chunk, time_ms, versions[code], value)
            pending._chunks[chunk] = _Chunk(latest_ms, len(ids), list(ids))
            if chunk != current:
                pending._closed.append((latest_ms, chunk))
        heapify(pending._closed)
        pending._stored = set(pending._chunks)
        return pending
