"""Numbers the events of a partition: the one order that single events and batches share.

A record of one event has one number, a batch of n rows has n.  The number of a record is its offset
plus the rows after the first of all batches before it.  So a partition that never had a batch has
numbers equal to its offsets, and a batch is processed as its events one by one would be.  The core
works with numbers; positions (offset, row) replace them in whatever leaves it.

`EventNumbers` keeps where the batches are, so that a number gives its position.  Of batches long
ago it keeps every second, fourth, … one: their position is then that of a record before.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from stream_monitor.contracts import DeadLetter
from stream_monitor.ingest.batch import EventRun
from stream_monitor.ingest.decode import Decoded, DecodedRecord
from stream_monitor.ingest.event_columns import EventColumns
from stream_monitor.ingest.records import ConsumerRecord

MAX_MARKS: Final = 1_024
"""Batches whose place is kept; beyond, every second one of the older half is dropped."""


class EventPlace(NamedTuple):
    """The position of an event: the offset of its record, and its row there."""

    offset: int
    row: int


class NumberedRecords(NamedTuple):
    """Decoded records with numbers for offsets, in order, and those of them that are rejected.

    ``batch_rows`` has the rows of each record of many events, by offset.
    """

    records: Sequence[DecodedRecord]
    rejected: Sequence[tuple[ConsumerRecord, DeadLetter]]
    batch_rows: Mapping[int, int] = {}

    def by_row(self) -> list[tuple[int, NumberedRecords]]:
        """The rows of one record of many events, each alone; any other record is row 0.

        One record is no `EventRun`.
        """
        found: list[tuple[int, NumberedRecords]] = []
        for record, event in self.records:
            if isinstance(event, EventColumns):
                rows = event.rows.tolist()
                for i, row in enumerate(rows):
                    alone = msgspec.structs.replace(record, offset=record.offset + row - rows[0])
                    found.append((row, NumberedRecords([(alone, event[i : i + 1])], ())))
            elif isinstance(event, DeadLetter):
                found.append(
                    (event.row or 0, NumberedRecords([(record, event)], [(record, event)]))
                )
            else:
                found.append((0, NumberedRecords([(record, event)], ())))
        return found

    @classmethod
    def joined(cls, parts: Iterable[NumberedRecords]) -> NumberedRecords:
        """Join parts that follow each other."""
        records: list[DecodedRecord] = []
        rejected: list[tuple[ConsumerRecord, DeadLetter]] = []
        for part in parts:
            records += part.records
            rejected += part.rejected
        return cls(records, rejected)


class EventNumbersState(msgspec.Struct, array_like=True):
    """The rows after the first of all batches so far, and the marks of batches.

    A mark has the number and the offset of a batch, and its rows.
    """

    extra: int = 0
    numbers: list[int] = msgspec.field(default_factory=list)
    offsets: list[int] = msgspec.field(default_factory=list)
    n_rows: list[int] = msgspec.field(default_factory=list)

    def __post_init__(self) -> None:
        if not len(self.numbers) == len(self.offsets) == len(self.n_rows) or self.extra < 0:
            raise ValueError("the marks of batches do not fit together")


class EventNumbers:
    """The numbers of one partition."""

    def __init__(self, state: EventNumbersState | None = None) -> None:
        self.state = state or EventNumbersState()

    def number(self, decoded: Decoded, span: int) -> NumberedRecords:
        """The decoded records of a batch of records in order, with numbers for offsets.

        Columns are cut at multiples of ``span``.
        """
        found: list[DecodedRecord] = []
        for record, event in decoded.all():
            first = record.offset + self.state.extra
            if isinstance(event, EventColumns):
                found += _cut(record, event, first, span)
                self._take(first, record.offset, event.n_rows)
            elif isinstance(event, DeadLetter) and event.row is not None:
                number = self.state.numbers[-1] + event.row  # of the batch just taken
                found.append(_numbered(record, event, number))
            elif isinstance(event, EventRun):
                found.append(_numbered(record, event.numbered(self.state.extra), first))
            else:
                found.append(_numbered(record, event, first))
        found.sort(key=_number_of)
        rejected = [(record, of) for record, of in found if isinstance(of, DeadLetter)]
        batch_rows = {record.offset: columns.n_rows for record, columns in decoded.columns}
        return NumberedRecords(found, rejected, batch_rows)

    def _take(self, number: int, offset: int, n_rows: int) -> None:
        """Note a batch."""
        state = self.state
        state.extra += n_rows - 1
        state.numbers.append(number)
        state.offsets.append(offset)
        state.n_rows.append(n_rows)
        if len(state.numbers) > MAX_MARKS:
            for marks in (state.numbers, state.offsets, state.n_rows):
                del marks[1 : MAX_MARKS // 2 : 2]

    def place(self, number: int) -> EventPlace:
        """Return the position of an event number; for old numbers, that of an earlier record."""
        state = self.state
        i = bisect_right(state.numbers, number) - 1
        if i < 0:
            return EventPlace(number, 0)
        behind = number - state.numbers[i] - state.n_rows[i]
        if behind < 0:
            return EventPlace(state.offsets[i], number - state.numbers[i])
        if i + 1 == len(state.numbers) or self._is_followed(i):
            return EventPlace(state.offsets[i] + 1 + behind, 0)
        return EventPlace(min(state.offsets[i] + 1, state.offsets[i + 1]), 0)

    def _is_followed(self, i: int) -> bool:
        """Whether no mark was dropped between batch i and the next one."""
        state = self.state
        numbers = state.numbers[i + 1] - state.numbers[i] - state.n_rows[i]
        return numbers == state.offsets[i + 1] - state.offsets[i] - 1


def _number_of(entry: DecodedRecord) -> int:
    return entry[0].offset


def _numbered(record: ConsumerRecord, event: Any, number: int) -> DecodedRecord:
    """A record and its event with a number for the offset."""
    if record.offset == number and not (isinstance(event, DeadLetter) and event.row):
        return record, event
    if isinstance(event, DeadLetter):
        event = msgspec.structs.replace(event, offset=number)
    return msgspec.structs.replace(record, offset=number), event


def _cut(
    record: ConsumerRecord, columns: EventColumns, first: int, span: int
) -> Sequence[DecodedRecord]:
    """The columns of a record in parts, each within one span and without a gap of numbers."""
    if not len(columns):
        return []
    numbers = columns.rows + first
    bounds = [0, *(np.flatnonzero(np.diff(numbers // span)) + 1).tolist(), len(numbers)]
    return [
        (msgspec.structs.replace(record, offset=int(numbers[start])), columns[start:end])
        for start, end in pairwise(bounds)
    ]
