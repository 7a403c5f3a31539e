"""Finding what ends the process that reads it, and going on without it.

A crash leaves no word.  But a partition that was acquired at one offset by several members, one
after the other, holds something there that none of them survived.  The next owner reads on batch by
batch, unpacked by itself (`stream_monitor.runtime.raw_fetch`), and folds records in one at a time;
and before each of the two it says so in the store.  What was tried alone `MAX_ATTEMPTS` times is
skipped: it
is counted, and its dead letter names it without what it holds.  So is a record that cannot be
unpacked at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from stream_monitor.contracts import UNKNOWN_MODEL, DeadLetter
from stream_monitor.ingest.records import ConsumerRecord, RecordBatch
from stream_monitor.ingest.rejection import model_from_key
from stream_monitor.runtime.partitions import OwnedPartition
from stream_monitor.state.store import Acquired, AttemptMarker

MAX_ATTEMPTS: Final = 3
"""Members that may end at one offset, and at one record alone."""
SINGLE_RECORD_OFFSETS: Final = 5_000
"""How far beyond the offset a worker may have been when it ended: a batch, and what had waited."""
SINGLE_BATCH_OFFSETS: Final = 20_000
"""How far beyond the offset librdkafka may have unpacked: what it queues before it fetches less."""
MAX_SKIPPED_RECORDS: Final = 1_000
"""Records of a batch that are skipped between two commits: each has a dead letter in memory."""
MAX_PROCESSED_RECORDS: Final = 500
"""Records of an unpacked batch that are folded in, perhaps alone, before others have a turn."""
POISON_RECORD: Final = "poison_record"
UNREADABLE: Final = "unreadable"


def single_record_until(acquired: Acquired, start: int) -> int:
    """Up to where records are folded in alone; ``start`` and below: nowhere.

    >>> single_record_until(Acquired("epoch", 7, attempts=3), 7)
    7
    >>> single_record_until(Acquired("epoch", 7, attempts=4), 7)
    5007
    """
    return start + SINGLE_RECORD_OFFSETS if _is_suspect(acquired, start) else start


def single_batch_until(acquired: Acquired, start: int) -> int:
    """Up to where batches are unpacked alone; ``start`` and below: nowhere."""
    return start + SINGLE_BATCH_OFFSETS if _is_suspect(acquired, start) else start


def _is_suspect(acquired: Acquired, start: int) -> bool:
    attempt = acquired.last_attempt
    failed_alone = attempt is not None and attempt.times > 0 and attempt.offset >= start
    return acquired.attempts > MAX_ATTEMPTS or failed_alone


def next_attempt(
    offset: int, before: AttemptMarker | None, *, decompressing: bool = False
) -> AttemptMarker:
    """What to leave word of before it is tried, after what was tried ``before``.

    >>> next_attempt(7, AttemptMarker(7, 2))
    AttemptMarker(offset=7, times=3, decompressing=False)
    >>> next_attempt(7, AttemptMarker(7, 2), decompressing=True)
    AttemptMarker(offset=7, times=1, decompressing=True)
    """
    same = before is not None and (before.offset, before.decompressing) == (offset, decompressing)
    return AttemptMarker(
        offset, before.times + 1 if same and before is not None else 1, decompressing
    )


def split_batch(batch: RecordBatch, n_records: int) -> Iterator[RecordBatch]:
    """The batch, ``n_records`` at a time, without a gap."""
    start = batch.start
    for at in range(0, max(1, len(batch.records)), n_records):
        part = batch.records[at : at + n_records]
        is_last = at + n_records >= len(batch.records)
        upto = batch.next if is_last else part[-1].offset + 1
        yield batch._replace(start=start, next=upto, records=part)
        start = upto


def unread_record(owned: OwnedPartition, offset: int) -> RecordBatch:
    """A record by itself that nobody has looked into, from where the partition stands."""
    record = ConsumerRecord(offset, 0, None, None)
    return RecordBatch(
        owned.topic, owned.partition, owned.fetch_generation, owned.position, offset + 1, [record]
    )


def dead_letter_by_reference(
    batch: RecordBatch, record: ConsumerRecord, reason: str, detail: str
) -> DeadLetter:
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
        model=model_from_key(record) or UNKNOWN_MODEL,
        source=record.source,
    )
