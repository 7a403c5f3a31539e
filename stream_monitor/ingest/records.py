"""Kafka records and batches of records, as the transport hands them to the core."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from producer.cloudevents import HeaderSource, headers_of


class StaticHeaders(NamedTuple):
    """Headers kept as pairs, for a record whose message is no longer there."""

    pairs: Sequence[tuple[str, bytes | None]]

    def headers(self) -> Sequence[tuple[str, bytes | None]]:
        """See `HeaderSource`."""
        return self.pairs


class ConsumerRecord(msgspec.Struct, frozen=True, gc=False):
    """One Kafka record as read.  ``kind`` is its ``ce_type`` header, if it has one.

    ``header_source`` is read only for rejected records and control records: reading the headers of
    every record would cost a tenth of reading the record.  The garbage collector does not track
    records: there are thousands, and none is in a cycle.
    """

    offset: int
    timestamp_ms: int
    kind: str | None
    value: bytes | None
    traceparent: str | None = None
    key: bytes | None = None
    header_source: HeaderSource | None = None

    @property
    def source(self) -> str:
        """The producer, as the header ``ce_source`` names it; empty without that header."""
        if self.header_source is None:
            return ""
        found = headers_of(self.header_source).get("ce_source")
        return (found or b"")[:_MAX_SOURCE_BYTES].decode("utf-8", "replace")


_MAX_SOURCE_BYTES = 256


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
    records: list[ConsumerRecord]
