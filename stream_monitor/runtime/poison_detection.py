"""Finds poison records: records that crash the process that reads them.

A process that crashes reports nothing.  But if several members acquired a partition at one offset,
one after the other, a record behind that offset has probably crashed them.  The next owner
decompresses one batch at a time (`stream_monitor.runtime.raw_fetch`) and processes one record at a
time; before each attempt it writes an attempt marker to the store.  After `MAX_ATTEMPTS` attempts
at a batch or record alone, the owner skips it: it counts as dead-lettered, and its dead letter
refers to it by offset, without its content.  A record that cannot be decompressed is skipped too.
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
"""Members that may crash at one offset, and attempts at one record alone."""
SINGLE_RECORD_OFFSETS: Final = 5_000
"""How far behind the offset a crashed worker may have been: one batch, and those in its queue."""
SINGLE_BATCH_OFFSETS: Final = 20_000
"""How far behind the offset librdkafka may have decompressed: the length of its queue."""
MAX_SKIPPED_RECORDS: Final = 1_000
"""Records of a batch that are skipped between two commits: each holds a dead letter in memory."""
MAX_PROCESSED_RECORDS: Final = 500
"""Records of a decompressed batch that are processed before other tasks get the lock."""
POISON_RECORD: Final = "poison_record"
UNREADABLE: Final = "unreadable"


def single_record_until(acquired: Acquired, start: int) -> int:
    """The offset up to which records are processed alone; ``start`` if none are.

    >>> single_record_until(Acquired("epoch", 7, attempts=3), 7)
    7
    >>> single_record_until(Acquired("epoch", 7, attempts=4), 7)
    5007
    """
    return start + SINGLE_RECORD_OFFSETS if _is_suspect(acquired, start) else start


def single_batch_until(acquired: Acquired, start: int) -> int:
    """The offset up to which batches are decompressed alone; ``start`` if none are."""
    return start + SINGLE_BATCH_OFFSETS if _is_suspect(acquired, start) else start


def _is_suspect(acquired: Acquired, start: int) -> bool:
    attempt = acquired.last_attempt
    failed_alone = attempt is not None and attempt.times > 0 and attempt.offset >= start
    return acquired.attempts > MAX_ATTEMPTS or failed_alone


def next_attempt(
    offset: int, before: AttemptMarker | None, *, decompressing: bool = False
) -> AttemptMarker:
    """The marker of the next attempt, after the attempt ``before``.

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
    """Split a batch into batches of ``n_records``, without a gap between them."""
    start = batch.start
    for at in range(0, max(1, len(batch.records)), n_records):
        part = batch.records[at : at + n_records]
        is_last = at + n_records >= len(batch.records)
        upto = batch.next if is_last else part[-1].offset + 1
        yield batch._replace(start=start, next=upto, records=part)
        start = upto


def unread_record(owned: OwnedPartition, offset: int) -> RecordBatch:
    """A batch of one record without content, from the position of the partition."""
    record = ConsumerRecord(offset, 0, None, None)
    return RecordBatch(
        owned.topic, owned.partition, owned.fetch_generation, owned.position, offset + 1, [record]
    )


def dead_letter_by_reference(
    batch: RecordBatch, record: ConsumerRecord, reason: str, detail: str
) -> DeadLetter:
    """The dead letter of a skipped record: its position, without its content."""
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
