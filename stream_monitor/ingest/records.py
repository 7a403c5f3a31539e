"""What crosses the seam between the transport and the core: records and batches of records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import msgspec


class HeaderSource(Protocol):
    """How a record was sent: a message of the client that read it, or `StaticHeaders`."""

    def headers(self) -> Any:
        """Pairs of name and bytes, or None."""
        ...


class StaticHeaders(NamedTuple):
    """The headers of a record whose message is gone."""

    pairs: Sequence[tuple[str, bytes | None]]

    def headers(self) -> Sequence[tuple[str, bytes | None]]:
        """As `HeaderSource` says."""
        return self.pairs


class ConsumerRecord(msgspec.Struct, frozen=True, gc=False):
    """One Kafka record as read.  ``kind`` is its ``ce_type`` header, if it has one.

    ``sent`` is asked only where a record is rejected, or is one of control: reading the source of
    every record would cost a tenth of reading it.  The garbage collector need not look at a
    record: there are thousands, and none is in a cycle.
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
        """Who wrote it, as its header ``ce_source`` says; empty where it says nothing."""
        if self.header_source is None:
            return ""
        try:
            found = dict(self.header_source.headers() or ()).get("ce_source")
        except (SystemError, UnicodeDecodeError):  # a header whose name is no UTF-8
            return ""
        return (found or b"")[:_MAX_SOURCE_BYTES].decode("utf-8", "replace")


_MAX_SOURCE_BYTES = 256


class RecordBatch(NamedTuple):
    """Consecutive records of one partition: positions before and after, and the owner's epoch.

    ``start`` is the position before the fetch and ``next`` the one after it; transaction markers
    and compaction holes lie between them without a record.
    """

    topic: str
    partition: int
    fetch_generation: str
    start: int
    next: int
    records: list[ConsumerRecord]
