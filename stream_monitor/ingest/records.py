"""What crosses the seam between the transport and the core: records and batches of records."""

from __future__ import annotations

from typing import NamedTuple

import msgspec


class LogRecord(msgspec.Struct, frozen=True, gc=False):
    """One Kafka record as read.  ``kind`` is its ``ce_type`` header, if it has one.

    The garbage collector need not look at it: there are thousands, and none is in a cycle.
    """

    offset: int
    timestamp_ms: int
    kind: str | None
    value: bytes | None
    traceparent: str | None = None
    key: bytes | None = None


class RecordBatch(NamedTuple):
    """Consecutive records of one partition: positions before and after, and the owner's epoch.

    ``start`` is the position before the fetch and ``next`` the one after it; transaction markers
    and compaction holes lie between them without a record.
    """

    topic: str
    partition: int
    epoch: str
    start: int
    next: int
    records: list[LogRecord]
