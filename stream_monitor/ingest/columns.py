"""Converts events to columns, and ids to hashes."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Final, TypeAlias, cast

import numpy as np
from msgspec.structs import astuple
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from producer.events import InferenceEvent, Value
from producer.names import version_key
from stream_monitor.ingest.batch import EventBatch, EventRun
from stream_monitor.ingest.event_columns import EventColumns
from stream_monitor.ingest.event_shapes import FeatureRow
from stream_monitor.ingest.records import ConsumerRecord
from stream_monitor.ingest.table import Row, Table, ValueColumn

_NOTHING: Final[Row] = {}
_FLOATS: Final = {float}
GroupEntry: TypeAlias = tuple[ConsumerRecord, InferenceEvent | EventColumns | EventRun]
_SHADOW_SEED: Final = 3
ROWS_AT_ONCE: Final = 256
"""Rows that become columns at once: those of a whole batch do not stay in the cache meanwhile."""


def id_hash(text: str, kind_seed: int = 0) -> int:
    """Return a 64-bit hash of an id, the same on every machine and in every release.

    >>> hex(id_hash("a"))
    '0xe6c632b61e964e1f'
    """
    return xxh3_64_intdigest(text.encode(), kind_seed)


def id_hashes(ids: Iterable[str]) -> NDArray[np.uint64]:
    """Return the `id_hash` of every id, shape (n,)."""
    return np.array([xxh3_64_intdigest(text.encode()) for text in ids], dtype=np.uint64)


def version_salt(model: str, version: str, *, shadow: bool = False) -> int:
    """Return a salt for id hashes, so that equal ids of different versions are no duplicates.

    A champion and a candidate may predict the same request.  A ``shadow`` prediction is no
    duplicate of one that was used, of whatever version.
    """
    return id_hash(version_key(model, version), _SHADOW_SEED if shadow else 0)


def to_batch(
    model: str, version: str, offsets: Sequence[int], events: Sequence[InferenceEvent]
) -> EventBatch:
    """The columns of n events of one (model, version), in offset order."""
    segments = [event.segment for event in events]
    return EventBatch(
        model,
        version,
        np.array(offsets, dtype=np.int64),
        np.array([event.time_ms for event in events], dtype=np.int64),
        id_hashes([event.id for event in events]),
        [event.prediction for event in events],
        _features([event.features for event in events]),
        Table([segment or _NOTHING for segment in segments])
        if any(segments)
        else Table.of_columns({}, len(segments)),
    )


def _features(rows: Sequence[Row | FeatureRow]) -> Table:
    """The features of n events, which may be of different shapes."""
    shapes = set(map(type, rows))
    first = rows[0] if len(shapes) == 1 else None
    if not isinstance(first, FeatureRow):
        return Table([row.as_dict() if isinstance(row, FeatureRow) else row for row in rows])
    columns = zip(*map(astuple, cast("Sequence[FeatureRow]", rows)), strict=True)
    packed = map(_packed, columns)
    names = first.__struct_encode_fields__
    return Table.of_columns(dict(zip(names, packed, strict=True)), len(rows))


def _packed(values: Sequence[Value]) -> ValueColumn:
    """The values of a feature as an array, if all are floats; as they are otherwise."""
    if set(map(type, values)) == _FLOATS:
        return np.frombuffer(array("d", cast("Sequence[float]", values)))
    return values


def group_to_batch(model: str, version: str, group: Sequence[GroupEntry]) -> EventBatch:
    """The columns of events of one (model, version), some of which are columns already."""
    parts = []
    for kind, entries in groupby(group, lambda entry: type(entry[1])):
        if kind is EventRun:
            parts += [cast("EventRun", run).events for _, run in entries]
        elif kind is EventColumns:
            parts += [
                numbered(record.offset, cast("EventColumns", columns))
                for record, columns in entries
            ]
        else:
            records, events = zip(*entries, strict=True)
            offsets = [record.offset for record in records]
            for start in range(0, len(events), ROWS_AT_ONCE):
                part = slice(start, start + ROWS_AT_ONCE)
                parts.append(to_batch(model, version, offsets[part], events[part]))
    return EventBatch.concatenated(parts)


def numbered(first: int, columns: EventColumns) -> EventBatch:
    """Return the events of a batch with event numbers from ``first`` on."""
    return EventBatch(
        columns.model,
        columns.version,
        columns.rows + (first - int(columns.rows[0])),
        columns.times_ms,
        columns.ids,
        columns.predictions,
        columns.features,
        columns.segments,
    )
