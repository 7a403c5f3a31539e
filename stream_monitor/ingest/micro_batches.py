"""Cuts a batch into micro-batches: runs of records that can be processed as columns.

Events and labels of a micro-batch commute with everything else in it, so they are processed in
bulk.  A micro-batch ends at a control record (`ModelUpdate`, `Command`, `Topology`), which is
applied after the others, and at fixed offsets, at which repeated ids are forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, cast

import numpy as np
from msgspec.structs import replace

from producer.events import Command, InferenceEvent, Label, ModelUpdate, Topology
from producer.limits import LATEST_MS
from stream_monitor.contracts import DeadLetter
from stream_monitor.ingest.batch import EventBatch, EventRun, Ints
from stream_monitor.ingest.columns import GroupEntry, group_to_batch
from stream_monitor.ingest.decode import DecodedRecord, event_key, only_version
from stream_monitor.ingest.event_columns import EventColumns
from stream_monitor.ingest.records import ConsumerRecord

ControlRecord = ModelUpdate | Command | Topology
_OF_EVENTS: Final = (InferenceEvent, EventColumns, EventRun)
_CONTROL: Final = frozenset({ModelUpdate, Command, Topology})


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Consecutive records of one span of offsets, up to and including a control record.

    ``offsets`` and ``timestamps_ms`` (append time) have one element per record, including control
    records, ticks and rejected records.  ``events`` and ``labels`` (offset, append time, label) are
    in offset order within a key, and the keys are in the order of their first events.  ``shadows``
    are the predictions that were not used, in the same form; ``events`` has all others.
    """

    offsets: Ints
    timestamps_ms: Ints
    events: dict[tuple[str, str], EventBatch]
    labels: dict[str, list[tuple[int, int, Label]]]
    ticks: int
    rejected: list[DeadLetter]
    control_record: tuple[ConsumerRecord, ControlRecord] | None
    shadows: dict[tuple[str, str], EventBatch] = field(default_factory=dict)

    @property
    def first_offset(self) -> int:
        """Offset of the first record."""
        return int(self.offsets[0])

    @property
    def last_offset(self) -> int:
        """Offset of the last record."""
        return int(self.offsets[-1])

    def first_event(self) -> tuple[str, str] | None:
        """Model and version of the first record, or ``None`` where it is no event."""
        for key, events in self.events.items():  # in the order of their first events
            return key if int(events.offsets[0]) == self.first_offset else None
        return None

    def append_clock_ms(self, since_ms: int) -> Ints:
        """The append clock at every record, (n,); it was at ``since_ms`` before the first.

        It never goes back, although brokers' clocks and producers' timestamps may.
        """
        return np.maximum(np.maximum.accumulate(self.timestamps_ms), since_ms)

    def split(self, offset: int) -> tuple[MicroBatch, MicroBatch]:
        """The records before ``offset``, and the rest, with the control record and all ticks.

        Ticks are only counted, so either part may contain them.
        """
        i = int(np.searchsorted(self.offsets, offset))
        before = self._part(slice(None, i), (0, offset), 0, None)
        end = self.last_offset + 1
        return before, self._part(slice(i, None), (offset, end), self.ticks, self.control_record)

    def _part(
        self,
        where: slice,
        bounds: tuple[int, int],
        ticks: int,
        control_record: tuple[ConsumerRecord, ControlRecord] | None,
    ) -> MicroBatch:
        """The records at ``where``, whose offsets are from the first bound to before the second."""
        start, end = bounds
        labels = {
            model: kept_rows
            for model, rows in self.labels.items()
            if (kept_rows := [row for row in rows if start <= row[0] < end])
        }
        rejected = [one for one in self.rejected if start <= one.offset < end]
        return MicroBatch(
            self.offsets[where],
            self.timestamps_ms[where],
            _inside(self.events, bounds),
            labels,
            ticks,
            rejected,
            control_record,
            _inside(self.shadows, bounds),
        )


def _inside(
    groups: dict[tuple[str, str], EventBatch], bounds: tuple[int, int]
) -> dict[tuple[str, str], EventBatch]:
    """The events with offsets from one bound to before the other, by the first of each key."""
    kept: dict[tuple[str, str], EventBatch] = {}
    for key, batch in groups.items():
        start, end = np.searchsorted(batch.offsets, bounds).tolist()
        if start < end:
            kept[key] = batch[start:end]
    return dict(sorted(kept.items(), key=lambda item: int(item[1].offsets[0])))


def split_micro_batches(
    entries: Sequence[DecodedRecord], max_micro_batch_offsets: int = 4096
) -> Iterator[MicroBatch]:
    """Cut records, in offset order, into micro-batches.  No record is lost or moved."""
    if not entries:
        return
    entries = [part for entry in entries for part in _cut_at(entry, max_micro_batch_offsets)]
    classes = [event.__class__ for _, event in entries]
    span = np.array([record.offset for record, _ in entries], dtype=np.int64)
    span //= max_micro_batch_offsets
    cuts = {0, len(entries), *(np.flatnonzero(np.diff(span)) + 1).tolist()}
    if not _CONTROL.isdisjoint(classes):
        cuts.update(i + 1 for i, kind in enumerate(classes) if kind in _CONTROL)
    for start, end in pairwise(sorted(cuts)):
        yield _micro_batch(entries[start:end])


def _cut_at(entry: DecodedRecord, max_micro_batch_offsets: int) -> Sequence[DecodedRecord]:
    """The entry; a run of events in parts, each within one span of offsets."""
    record, run = entry
    if not isinstance(run, EventRun):
        return (entry,)
    spans = run.events.offsets // max_micro_batch_offsets
    if spans[0] == spans[-1]:
        return (entry,)
    bounds = [0, *(np.flatnonzero(np.diff(spans)) + 1).tolist(), len(run)]
    return [
        (replace(record, offset=int(run.events.offsets[start])), run[start:end])
        for start, end in pairwise(bounds)
    ]


def _micro_batch(run: Sequence[DecodedRecord]) -> MicroBatch:
    events: dict[tuple[str, str], list[GroupEntry]] = {}
    labels: dict[str, list[tuple[int, int, Label]]] = {}
    shadows: dict[tuple[str, str], list[GroupEntry]] = {}
    ticks = 0
    rejected: list[DeadLetter] = []
    control_record: tuple[ConsumerRecord, ControlRecord] | None = None
    key = _version_of(run)
    if key is not None:
        events[key] = cast("list[GroupEntry]", run)
    model = version = None  # consecutive events are mostly of one version: keep its list
    group: list[GroupEntry] = []
    for entry in run if key is None else ():
        record, event = entry
        if isinstance(event, InferenceEvent | EventColumns | EventRun):
            if event.shadow:
                shadows.setdefault((event.model, event.version), []).append((record, event))
                continue
            if event.model != model or event.version != version:
                model, version = event.model, event.version
                group = events.setdefault((model, version), [])
            group.append((record, event))
        elif isinstance(event, Label):
            labels.setdefault(event.model, []).append((record.offset, record.timestamp_ms, event))
        elif isinstance(event, ControlRecord):
            control_record = (record, event)
        elif isinstance(event, DeadLetter):
            rejected.append(event)
        else:
            ticks += 1
    offsets, timestamps_ms = _positions(run, rejected)
    return MicroBatch(
        offsets,
        timestamps_ms,
        {of: group_to_batch(*of, entries) for of, entries in events.items()},
        labels,
        ticks,
        rejected,
        control_record,
        {of: group_to_batch(*of, entries) for of, entries in shadows.items()},
    )


def _version_of(run: Sequence[DecodedRecord]) -> tuple[str, str] | None:
    """The model and version of all records; ``None`` if one differs, is a shadow or no event."""
    events = [event for _, event in run]
    if not all(issubclass(kind, _OF_EVENTS) for kind in set(map(type, events))):
        return None
    return only_version(set(map(event_key, events)))


def _positions(run: Sequence[DecodedRecord], rejected: list[DeadLetter]) -> tuple[Ints, Ints]:
    """Offset and append time of each event or other record, (n,) each.

    An impossible append time, for which its record was rejected, counts as 0.
    """
    offsets = np.array([record.offset for record, _ in run], dtype=np.int64)
    found = [record.timestamp_ms for record, _ in run]
    if rejected:
        found = [time_ms if time_ms <= LATEST_MS else 0 for time_ms in found]
    timestamps_ms = np.array(found, dtype=np.int64)
    if not any(isinstance(of, EventColumns | EventRun) for _, of in run):
        return offsets, timestamps_ms
    numbers, times_ms = [], []
    for i, (_, of) in enumerate(run):
        if isinstance(of, EventRun):
            numbers.append(of.events.offsets)
            times_ms.append(of.timestamps_ms)
        elif isinstance(of, EventColumns):
            numbers.append(offsets[i] + of.rows - of.rows[0])
            times_ms.append(np.full(len(of), timestamps_ms[i]))
        else:
            numbers.append(offsets[i : i + 1])
            times_ms.append(timestamps_ms[i : i + 1])
    offsets = np.concatenate(numbers)
    order = np.argsort(offsets)  # a rejected row may be between others
    return offsets[order], np.concatenate(times_ms)[order]
