"""Finding what ends the process that reads it, and going on without it.

A crash leaves no word.  But a partition that was acquired at one offset by several members, one
after the other, holds something there that none of them survived.  The next owner reads on batch by
batch, unpacked by itself (`stream_monitor.runtime.packed`), and folds records in one at a time; and
before each of the two it says so in the store.  What was tried alone `TRIES` times is skipped: it
is counted, and its dead letter names it without what it holds.  So is a record that cannot be
unpacked at all.
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
PACKED_RECORDS: Final = 20_000
"""How far beyond the offset librdkafka may have unpacked: what it queues before it fetches less."""
SKIPPED_AT_ONCE: Final = 1_000
"""Records of a batch that are skipped between two commits: each has a dead letter in memory."""
KILLS: Final = "process_killer"
UNREADABLE: Final = "unreadable"


def careful_until(acquired: Acquired, start: int) -> int:
    """Up to where records are folded in alone; ``start`` and below: nowhere.

    >>> careful_until(Acquired("epoch", 7, attempts=3), 7)
    7
    >>> careful_until(Acquired("epoch", 7, attempts=4), 7)
    5007
    """
    return start + CAREFUL_RECORDS if _died_here(acquired, start) else start


def packed_until(acquired: Acquired, start: int) -> int:
    """Up to where batches are unpacked alone; ``start`` and below: nowhere."""
    return start + PACKED_RECORDS if _died_here(acquired, start) else start


def _died_here(acquired: Acquired, start: int) -> bool:
    died_alone = acquired.tried is not None and acquired.tried.offset >= start
    return acquired.attempts > TRIES or died_alone


def next_try(offset: int, before: Tried | None, *, unpacking: bool = False) -> Tried:
    """What to leave word of before it is tried, after what was tried ``before``.

    >>> next_try(7, Tried(7, 2))
    Tried(offset=7, times=3, unpacking=False)
    >>> next_try(7, Tried(7, 2), unpacking=True)
    Tried(offset=7, times=1, unpacking=True)
    """
    same = before is not None and (before.offset, before.unpacking) == (offset, unpacking)
    return Tried(offset, before.times + 1 if same and before is not None else 1, unpacking)


def unpacked_before(first: int, last: int, before: Tried | None) -> bool:
    """Whether one of these records was folded in before: then unpacking them did not kill.

    >>> unpacked_before(5, 9, Tried(7, 1)), unpacked_before(5, 9, Tried(9, 1, unpacking=True))
    (True, False)
    """
    return before is not None and not before.unpacking and first <= before.offset <= last


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
