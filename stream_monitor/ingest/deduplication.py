"""Recognises repeated ids among the last offsets of a partition: a ring of id hashes.

A chunk holds the ids first seen within ``chunk_events`` consecutive offsets.  At the first of every
``micro_batch_chunks`` chunks the ids of the ``chunks - 1`` chunks before it are kept, and the older
ones forgotten.  Which ids are forgotten depends on offsets alone, not on where records were cut
into batches, nor on the order of the groups of a micro-batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from producer.events import Label
from producer.names import escape
from stream_monitor.ingest.batch import Bools, Ints
from stream_monitor.ingest.columns import id_hash, id_hashes
from stream_monitor.state_parts import StoredParts

_LABEL_SALT: Final = "label"


class DedupWindow:
    """The ids of about ``chunks * chunk_events`` offsets, as 64-bit hashes."""

    def __init__(
        self, chunks: int = 64, chunk_events: int = 1024, micro_batch_chunks: int = 1
    ) -> None:
        self._chunks, self._chunk_events = chunks, chunk_events
        self._micro_batch_chunks = micro_batch_chunks
        self._all: set[int] = set()
        self._by_chunk: dict[int, list[int]] = {}  # in the order of the chunks
        self._has_changes: set[int] = set()

    def __len__(self) -> int:
        return len(self._all)

    def deduplicate(self, offsets: Ints, ids: NDArray[np.uint64], salt: int = 0) -> Bools:
        """Apply n ids in offset order; return a mask (n,), true at the first occurrence of an id.

        Groups of one micro-batch must not share ids, or the first group would win instead of the
        first offset: give each group a ``salt`` of its own.
        """
        first = np.ones(len(offsets), dtype=np.bool_)
        if not len(offsets):
            return first
        if salt:
            ids = ids ^ np.uint64(salt)
        chunk_of = offsets // self._chunk_events
        plain: list[int] = ids.tolist()
        edges: list[int] = ((chunk_of[1:] != chunk_of[:-1]).nonzero()[0] + 1).tolist()
        for start, end in pairwise((0, *edges, len(plain))):
            self._deduplicate_chunk(int(chunk_of[start]), plain[start:end], first[start:end])
        return first

    def new_labels(
        self, model: str, labels: Sequence[tuple[int, int, Label]]
    ) -> list[tuple[int, int, Label]]:
        """The labels whose id is seen for the first time, as (offset, id hash, label).

        ``labels`` of one model are (offset, append time, label), in offset order.
        """
        offsets = np.array([offset for offset, _, _ in labels], dtype=np.int64)
        ids = id_hashes([label.id for _, _, label in labels])
        first = self.deduplicate(offsets, ids, id_hash(f"{escape(model)}@{_LABEL_SALT}", 1))
        rows = zip(labels, ids.tolist(), first.tolist(), strict=True)
        return [(offset, hashed, label) for (offset, _, label), hashed, new in rows if new]

    def is_new_control(self, record_id: str, offset: int) -> bool:
        """Apply the id of a control record; return whether it is new."""
        hashed = np.array([id_hash(record_id, 2)], dtype=np.uint64)
        return bool(self.deduplicate(np.array([offset], dtype=np.int64), hashed).all())

    def _deduplicate_chunk(self, chunk: int, ids: list[int], first: Bools) -> None:
        """Take the events of one chunk; ``first`` is a view that receives the result."""
        mine = self._by_chunk.get(chunk)
        if mine is None:
            self._forget_until(chunk - chunk % self._micro_batch_chunks - self._chunks)
            mine = self._by_chunk[chunk] = []
        new = set(ids)
        if len(new) == len(ids) and new.isdisjoint(self._all):
            mine += ids
            self._all |= new
        else:
            for i, text_hash in enumerate(ids):
                if text_hash in self._all:
                    first[i] = False
                else:
                    self._all.add(text_hash)
                    mine.append(text_hash)
        self._has_changes.add(chunk)

    def _forget_until(self, last: int) -> None:
        for chunk in [chunk for chunk in self._by_chunk if chunk <= last]:
            self._all.difference_update(self._by_chunk.pop(chunk))
            self._has_changes.add(chunk)

    def _span(self) -> int:
        """Number of chunks from the first to the last."""
        return max(self._by_chunk) - min(self._by_chunk)

    def take_changes(self) -> dict[str, bytes | None]:
        """The parts that changed since the last call; ``None`` is a part that no longer exists.

        Hashes are sorted: groups of a micro-batch come in the order of their keys, not of offsets.
        """
        changed, self._has_changes = sorted(self._has_changes), set()
        return {
            str(chunk): np.sort(np.array(mine, dtype="<u8")).tobytes()
            if (mine := self._by_chunk.get(chunk)) is not None
            else None
            for chunk in changed
        }

    def restore(self, parts: StoredParts) -> None:
        """Continue from the parts.  Raises ValueError where one does not fit."""
        for chunk in sorted(map(int, parts)):
            mine = np.frombuffer(parts.read(str(chunk), bytes), dtype="<u8").tolist()
            self._by_chunk[chunk] = mine
            self._all.update(mine)
        if sum(map(len, self._by_chunk.values())) != len(self._all):
            raise ValueError("deduplication window: an id is in two chunks")
        if self._by_chunk and self._span() >= self._chunks + self._micro_batch_chunks - 1:
            raise ValueError("deduplication window: the chunks span more offsets than the window")
