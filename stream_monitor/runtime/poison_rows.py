"""Finds the row of a batch that crashes the process, and processes the other rows.

A record that was tried alone and crashed its worker, and that has many events, is decoded and then
processed row by row; before each row an attempt marker names it.  The position stays at the record
until all of its rows are applied, so the next owner begins with the record: it applies the rows
before the named one together, and the named one alone.  A row that ended `MAX_ATTEMPTS` workers is
skipped.  A record that cannot be decoded without a crash, or has more than `MAX_POISON_ROWS` of
such rows, is skipped whole.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from producer.codec import is_batch
from stream_monitor.ingest.event_numbers import NumberedRecords
from stream_monitor.ingest.records import ConsumerRecord, RecordBatch
from stream_monitor.runtime.poison_records import MAX_ATTEMPTS
from stream_monitor.state.partition_state import BatchResult, PartitionState
from stream_monitor.state.store import AttemptMarker

MAX_POISON_ROWS: Final = 3
"""Rows of one record that are skipped: finding each of them costs `MAX_ATTEMPTS` workers."""


def is_tried_by_row(record: ConsumerRecord, before: AttemptMarker | None) -> bool:
    """Whether a worker crashed at this record alone, and it has rows."""
    return (
        before is not None
        and not before.decompressing
        and before.offset == record.offset
        and before.times > 0
        and is_batch(record.value)
    )


def next_row_attempt(before: AttemptMarker, max_attempts: int = MAX_ATTEMPTS) -> AttemptMarker:
    """The marker to write before the record is decoded again, after the attempt ``before``.

    >>> next_row_attempt(AttemptMarker(7, 2, row=5)).times
    3
    >>> next_row_attempt(AttemptMarker(7, 3, row=5))[1:]
    (1, False, 6, (5,))
    """
    if before.row is None or before.times < max_attempts:
        return before._replace(times=before.times + 1)
    skipped = (*before.skipped_rows, before.row)
    return before._replace(times=1, row=before.row + 1, skipped_rows=skipped)


async def observe_by_row(
    state: PartitionState,
    batch: RecordBatch,
    attempt: AttemptMarker,
    write_marker: Callable[[AttemptMarker], Awaitable[bool]],
) -> BatchResult | None:
    """Apply the rows of one record, except the skipped ones; ``None`` if a marker is rejected.

    ``attempt`` is stored.  After ``None`` or an exception the state is undefined.
    """
    rows = state.decode_rows(batch)
    kept = [(row, part) for row, part in rows if row not in attempt.skipped_rows]
    first = attempt.row or 0
    before = [part for row, part in kept if row < first]
    results: list[BatchResult] = []
    if before:
        results.append(state.observe_rows(NumberedRecords.joined(before), attempt.offset))
    for row, part in kept:
        if row < first:
            continue
        if row != attempt.row:
            attempt = attempt._replace(row=row, times=1)
            if not await write_marker(attempt):
                return None
        results.append(state.observe_rows(part, attempt.offset))
    return _joined(results, {attempt.offset: len(rows)})


def _joined(results: list[BatchResult], batch_rows: dict[int, int]) -> BatchResult:
    return BatchResult(
        [alert for result in results for alert in result.alerts],
        [dead_letter for result in results for dead_letter in result.dead_letters],
        {name: value for result in results for name, value in result.outbox.items()},
        any(result.urgent for result in results),
        batch_rows=batch_rows,
    )
