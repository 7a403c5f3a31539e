"""Records that wait for their counterpart: predictions for labels, or labels for predictions.

Entries are kept as columns, by chunks of offsets, so that a commit writes only the chunks that
changed, and an entry costs no object of its own.  All methods are deterministic in the order of
their calls, also after a restore.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from operator import itemgetter
from typing import Any, TypeAlias

import msgspec

PendingEntry: TypeAlias = tuple[int, str, Any]
"""Event time (ms), version, and value.  A label's version is empty."""


@dataclass(slots=True)
class _Chunk:
    """The entries of a chunk as columns of equal length, in the order in which they were added.

    ``latest_ms`` is the latest event time that the chunk ever had.  ``rows`` maps the ids that
    still wait to their rows; it is ``None`` while all rows wait and none was looked up.
    """

    latest_ms: int
    ids: list[int] = field(default_factory=list)
    times_ms: list[int] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    rows: dict[int, int] | None = None

    @property
    def waiting(self) -> Collection[int]:
        """The ids that wait, in the order in which they were added."""
        return self.ids if self.rows is None else self.rows

    def extend(
        self,
        ids: Sequence[int],
        times_ms: Sequence[int],
        versions: Sequence[str],
        values: Sequence[object],
    ) -> None:
        """Add entries."""
        if self.rows is not None:
            start = len(self.ids)
            self.rows.update(zip(ids, range(start, start + len(ids)), strict=True))
        self.ids += ids
        self.times_ms += times_ms
        self.versions += versions
        self.values += values

    def rows_by_id(self) -> dict[int, int]:
        """The rows of the ids that wait."""
        if self.rows is None:
            self.rows = dict(zip(self.ids, range(len(self.ids)), strict=True))
        return self.rows

    def remove(self, id_hash: int) -> None:
        """Remove the entry of an id that waits."""
        rows = self.rows_by_id()
        del rows[id_hash]
        if 2 * len(rows) < len(self.ids):
            self.keep(list(rows.values()))

    def keep(self, rows: list[int]) -> None:
        """Keep these rows only."""
        columns: tuple[list[Any], ...] = (self.ids, self.times_ms, self.versions, self.values)
        for column in columns:
            column[:] = [column[row] for row in rows]
        self.rows = None


class PendingChunk(msgspec.Struct, frozen=True, array_like=True):
    """The entries of a chunk as columns of equal length; ``codes`` are indices of ``versions``."""

    latest_ms: int
    ids: list[int]
    times_ms: list[int]
    versions: list[str]
    codes: list[int]
    values: list[Any]

    def check(self) -> None:
        """Raise ValueError where the columns do not fit together, as in a damaged store."""
        if not self.ids or len({*map(len, (self.ids, self.times_ms, self.codes, self.values))}) > 1:
            raise ValueError("labels: the columns of a chunk differ in length")
        if max(self.times_ms) > self.latest_ms or not 0 <= min(self.codes) <= max(self.codes) < len(
            self.versions
        ):
            raise ValueError("labels: the columns of a chunk do not fit together")


class PendingRecords:
    """Entries by the 64-bit hash of their id; one entry per id."""

    def __init__(self) -> None:
        self._chunk_of: dict[int, int] = {}
        self._chunks: dict[int, _Chunk] = {}
        self._closed: list[tuple[int, int]] = []  # heap of (latest_ms, chunk)
        self._has_changes: set[int] = set()

    def __len__(self) -> int:
        return len(self._chunk_of)

    def get(self, id_hash: int) -> PendingEntry | None:
        """The entry of an id; ``None`` where it does not wait."""
        chunk = self._chunk_of.get(id_hash)
        if chunk is None:
            return None
        known = self._chunks[chunk]
        row = known.rows_by_id()[id_hash]
        return known.times_ms[row], known.versions[row], known.values[row]

    def has_any(self, ids: Iterable[int]) -> bool:
        """Whether one of the ids waits."""
        return not self._chunk_of.keys().isdisjoint(ids)

    def add(
        self,
        ids: Sequence[int],
        chunk: int,
        times_ms: Sequence[int],
        versions: Sequence[str],
        values: Sequence[object],
    ) -> None:
        """Add entries to the current chunk.  Ids must differ, and none may be waiting."""
        self._chunk_of |= dict.fromkeys(ids, chunk)
        latest_ms = max(times_ms)
        known = self._chunks.get(chunk)
        if known is None:
            known = self._chunks[chunk] = _Chunk(latest_ms)
        elif latest_ms > known.latest_ms:
            known.latest_ms = latest_ms
        known.extend(ids, times_ms, versions, values)
        self._has_changes.add(chunk)

    def pop(self, id_hash: int) -> None:
        """Remove the entry of an id that waits."""
        chunk = self._chunk_of.pop(id_hash)
        known = self._chunks[chunk]
        known.remove(id_hash)
        self._forget_empty(chunk, known)

    def _forget_empty(self, chunk: int, known: _Chunk) -> None:
        if not known.waiting:
            del self._chunks[chunk]
        self._has_changes.add(chunk)

    def close_chunk(self, chunk: int) -> None:
        """Close ``chunk`` to further entries: from now on it may expire."""
        known = self._chunks.get(chunk)
        if known is not None:
            heappush(self._closed, (known.latest_ms, chunk))

    def expire(self, until_ms: int) -> int:
        """Remove closed chunks with no entry later than ``until_ms``; returns how many entries."""
        before = len(self)
        while self._closed and self._closed[0][0] <= until_ms:
            _, chunk = heappop(self._closed)
            known = self._chunks.pop(chunk, None)
            if known is None:
                continue  # all of its entries have been removed
            for id_hash in known.waiting:
                del self._chunk_of[id_hash]
            self._has_changes.add(chunk)
        return before - len(self)

    def thin(self, below: int) -> int:
        """Keep only ids whose hash is below a threshold; returns how many were removed."""
        before = len(self)
        for chunk, known in list(self._chunks.items()):
            rows = [row for id_hash, row in known.rows_by_id().items() if id_hash < below]
            if len(rows) < len(known.waiting):
                known.keep(rows)
                self._forget_empty(chunk, known)
        self._chunk_of = {
            id_hash: chunk for id_hash, chunk in self._chunk_of.items() if id_hash < below
        }
        return before - len(self)

    def take_changes(self) -> dict[str, PendingChunk | None]:
        """The chunks that changed since the last call, by number; ``None``: it was deleted."""
        changed, self._has_changes = sorted(self._has_changes), set()
        return {
            str(chunk): _columns(known) if (known := self._chunks.get(chunk)) else None
            for chunk in changed
        }

    @classmethod
    def restore(cls, parts: Iterable[tuple[int, PendingChunk]], current: int) -> PendingRecords:
        """Continue; chunk ``current`` still grows.  Raises ValueError where chunks do not fit."""
        pending = cls()
        n = 0
        for chunk, of in sorted(parts, key=itemgetter(0)):
            of.check()
            pending._chunk_of |= dict.fromkeys(of.ids, chunk)
            n += len(of.ids)
            versions = list(map(of.versions.__getitem__, of.codes))
            pending._chunks[chunk] = _Chunk(of.latest_ms, of.ids, of.times_ms, versions, of.values)
            if chunk != current:
                pending._closed.append((of.latest_ms, chunk))
        if len(pending) != n:
            raise ValueError("labels: two waiting records have the same id")
        heapify(pending._closed)
        return pending


def _columns(known: _Chunk) -> PendingChunk:
    """The entries that wait, in their order, which does not depend on batches."""
    if known.rows is not None:
        known.keep(list(known.rows.values()))
    names = sorted(set(known.versions))
    codes = [0] * len(known.ids)
    if len(names) > 1:
        code_of = {version: i for i, version in enumerate(names)}
        codes = list(map(code_of.__getitem__, known.versions))
    # Copies: the state that is stored must not follow what is added later.
    ids, times_ms, values = known.ids.copy(), known.times_ms.copy(), known.values.copy()
    return PendingChunk(known.latest_ms, ids, times_ms, names, codes, values)
