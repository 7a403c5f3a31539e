"""Events to columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from producer.events import InferenceEvent, Value
from stream_monitor.ingest.batch import EventBatch
from stream_monitor.ingest.records import LogRecord


def id_hash(text: str, kind_seed: int = 0) -> int:
    """64 bits of an id: the same on every machine, in every process, for ever.

    >>> hex(id_hash("a"))
    '0xe6c632b61e964e1f'
    """
    return xxh3_64_intdigest(text.encode(), kind_seed)


def id_hashes(ids: Iterable[str]) -> NDArray[np.uint64]:
    """`id_hash` of every id, shape (n,)."""
    return np.array([xxh3_64_intdigest(text.encode()) for text in ids], dtype=np.uint64)


def series_salt(model: str, version: str) -> int:
    """Tells equal ids of different model versions apart where duplicates are sought.

    A champion and its shadow may predict the same request; neither is a repeat of the other.
    """
    return id_hash(f"{model}@{version}")


def to_batch(
    model: str, version: str, entries: Sequence[tuple[LogRecord, InferenceEvent]]
) -> EventBatch:
    """The columns of n events of one (model, version), in the given order.

    Columns stand in the order of their names; a feature an event does not have is ``None``.
    """
    events = [event for _, event in entries]
    named = [event.segment for event in events]
    return EventBatch(
        model,
        version,
        np.array([record.offset for record, _ in entries], dtype=np.int64),
        np.array([event.time_ms for event in events], dtype=np.int64),
        id_hashes([event.id for event in events]),
        [event.prediction for event in events],
        _columns([event.features for event in events]),
        _columns([segment or {} for segment in named]) if any(named) else {},
    )


def _columns(rows: Sequence[Mapping[str, Value]]) -> dict[str, Sequence[Value]]:
    """Transpose; rows that all have the same names, the usual case, go through one getter."""
    if not rows:
        return {}
    names = sorted(rows[0])
    if len(names) > 1 and set(map(len, rows)) == {len(names)}:
        try:
            return dict(zip(names, zip(*map(itemgetter(*names), rows), strict=True), strict=True))
        except KeyError:
            pass  # equally many names, but not the same ones
    names = sorted(set().union(*rows))
    return {name: tuple([row.get(name) for row in rows]) for name in names}
