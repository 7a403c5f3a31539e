"""Finding a record that ends the process which folds it in, and going on without it.

A crash leaves no word.  But a partition that was acquired at one offset by several members, one
after the other, holds a record there that none of them survived.  The next owner folds records in
one at a time, and before each says so in the store.  A record that was tried alone `TRIES` times is
skipped: it is counted, and its dead letter names it without what it holds.  So is a record that
cannot even be unpacked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from stream_monitor.contracts import DeadLetter
from stream_monitor.ingest.records import LogRecord, RecordBatch
from stream_monitor.state.store import Acquired, Tried

TRIES: Final = 3
"""Members that may end at one offset, and at one record alone."""
CAREFUL_RECORDS: Final = 5_000
"""How far beyond the offset a worker may have been when it ended: a batch, and what had waited."""
KILLS: Final = "process_killer"
UNREADABLE: Final = "unreadable"


def careful_until(acquired: Acquired, start: int) -> int:
    """Up to where records are folded in alone; ``start`` and below: nowhere.

    >>> careful_until(Acquired("epoch", 7, attempts=3), 7)
    7
    >>> careful_until(Acquired("epoch", 7, attempts=4), 7)
    5007
    """
    died_alone = acquired.tried is not None and acquired.tried.offset >= start
    if acquired.attempts > TRIES or died_alone:
        return start + CAREFUL_RECORDS
    return start


def try_of(record: LogRecord, before: Tried | None) -> Tried:
    """What to leave word of before this record is folded in."""
    times = before.times if before is not None and before.offset == record.offset else 0
    return Tried(record.offset, times + 1)


def singles(batch: RecordBatch) -> Iterator[RecordBatch]:
    """The batch, a record at a time, without a gap."""
    start = batch.start
    for number, record in enumerate(batch.records, 1):
        upto = batch.next if number == len(batch.records) else record.offset + 1
        yield batch._replace(start=start, next=upto, records=[record])
        start = upto


def by_reference(batch: RecordBatch, record: LogRecord, reason: str, detail: str) -> DeadLetter:
    """The dead letter of a record that nobody looks into any more."""
    return DeadLetter(
        topic=batch.topic,
        partition=batch.partition,
        offset=record.offset,
        timestamp_ms=record.timestamp_ms,
        reason=reason,
        detail=detail,
        sha256="",
        size_bytes=len(record.value or b""),
    )
