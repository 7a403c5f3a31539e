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

from stream_monitor.contracts import UNKNOWN_MODEL, DeadLetter
from stream_monitor.ingest.records import LogRecord, RecordBatch
from stream_monitor.ingest.refusal import model_by_key
from stream_monitor.runtime.partitions import Owned
from stream_monitor.state.store import Acquired, Tried

TRIES: Final = 3
"""Members that may end at one offset, and at one record alone."""
CAREFUL_RECORDS: Final = 5_000
"""How far beyond the offset a worker may have been when it ended: a batch, and what had waited."""
PACKED_RECORDS: Final = 20_000
"""How far beyond the offset librdkafka may have unpacked: what it queues before it fetches less."""
SKIPPED_AT_ONCE: Final = 1_000
"""Records of a batch that are skipped between two commits: each has a dead letter in memory."""
FOLDED_AT_ONCE: Final = 500
"""Records of an unpacked batch that are folded in, perhaps alone, before others have a turn."""
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
    tried = acquired.tried
    died_alone = tried is not None and tried.times > 0 and tried.offset >= start
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


def pieces(batch: RecordBatch, n_records: int) -> Iterator[RecordBatch]:
    """The batch, ``n_records`` at a time, without a gap."""
    start = batch.start
    for at in range(0, max(1, len(batch.records)), n_records):
        part = batch.records[at : at + n_records]
        is_last = at + n_records >= len(batch.records)
        upto = batch.next if is_last else part[-1].offset + 1
        yield batch._replace(start=start, next=upto, records=part)
        start = upto


def unseen(owned: Owned, offset: int) -> RecordBatch:
    """A record by itself that nobody has looked into, from where the partition stands."""
    record = LogRecord(offset, 0, None, None)
    return RecordBatch(
        owned.topic, owned.partition, owned.tag, owned.position, offset + 1, [record]
    )


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
        model=model_by_key(record) or UNKNOWN_MODEL,
        source=record.source,
    )
