"""Kafka records and batches of records, as the transport hands them to the core."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, overload

import msgspec

from producer.cloudevents import HeaderSource, ce_type_of, headers_of


class StaticHeaders(NamedTuple):
    """Headers stored as pairs, for a record whose message was released."""

    pairs: Sequence[tuple[str, bytes | None]]

    def headers(self) -> Sequence[tuple[str, bytes | None]]:
        """See `HeaderSource`."""
        return self.pairs


class ConsumerRecord(msgspec.Struct, frozen=True, gc=False):
    """One Kafka record as read.

    Headers are read when they are needed: for most records only the value is (`producer.codec`),
    and headers cost more than the rest of a record.  ``ce_type`` is set where it is known
    without them.  The garbage collector does not track records: there are thousands, and none
    is in a cycle.
    """

    offset: int
    timestamp_ms: int
    ce_type: str | None
    value: bytes | None
    key: bytes | None = None
    header_source: HeaderSource | None = None

    @property
    def kind(self) -> str | None:
        """The header ``ce_type``; ``None`` if it is missing."""
        if self.ce_type is not None or self.header_source is None:
            return self.ce_type
        return ce_type_of(self.header_source)

    @property
    def source(self) -> str:
        """The producer, as the header ``ce_source`` names it; empty without that header."""
        if self.header_source is None:
            return ""
        found = headers_of(self.header_source).get("ce_source")
        return (found or b"")[:_MAX_SOURCE_BYTES].decode("utf-8", "replace")


_MAX_SOURCE_BYTES = 256


@dataclass(frozen=True, slots=True)
class RecordColumns(Sequence[ConsumerRecord]):
    """Records as columns of equal length: a record becomes an object where one is looked at.

    Most records are decoded without one, and an object for each costs as much as reading it.
    """

    offsets: Sequence[int]
    timestamps_ms: Sequence[int]
    ce_types: Sequence[str | None]
    values: Sequence[bytes | None]
    keys: Sequence[bytes | None]
    header_sources: Sequence[HeaderSource | None]

    @classmethod
    def of(cls, records: Iterable[ConsumerRecord]) -> RecordColumns:
        """The columns of records."""
        if isinstance(records, RecordColumns):
            return records
        rows = [msgspec.structs.astuple(record) for record in records]
        return cls(*map(list, zip(*rows, strict=True))) if rows else cls(*([],) * 6)

    def __len__(self) -> int:
        return len(self.offsets)

    def __iter__(self) -> Iterator[ConsumerRecord]:
        return map(ConsumerRecord, *self._columns())

    @overload
    def __getitem__(self, at: int) -> ConsumerRecord: ...
    @overload
    def __getitem__(self, at: slice) -> RecordColumns: ...
    def __getitem__(self, at: int | slice) -> ConsumerRecord | RecordColumns:
        cells: Any = [column[at] for column in self._columns()]
        return ConsumerRecord(*cells) if isinstance(at, int) else RecordColumns(*cells)

    def _columns(self) -> tuple[Any, ...]:
        return (
            self.offsets,
            self.timestamps_ms,
            self.ce_types,
            self.values,
            self.keys,
            self.header_sources,
        )


class RecordBatch(NamedTuple):
    """Consecutive records of one partition from one fetch.

    ``start`` is the position before the fetch and ``next`` the one after it; between them may be
    offsets without a record (transaction markers, compaction).  ``fetch_generation`` changes with
    every seek.
    """

    topic: str
    partition: int
    fetch_generation: str
    start: int
    next: int
    records: Sequence[ConsumerRecord]

    def distinct_keys(self) -> set[bytes | None]:
        """The keys of the records."""
        return set(RecordColumns.of(self.records).keys)
