"""Cuts a batch into micro-batches: runs of records that can be processed as columns.

Events and labels of a micro-batch commute with everything else in it, so they are processed in
bulk.  A micro-batch ends at a control record (`ModelUpdate`, `Command`, `Topology`), which is
applied after the others, and at fixed offsets, at which repeated ids are forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, cast

import numpy as np

from producer.events import Command, Event, InferenceEvent, Label, ModelUpdate, Topology
from producer.limits import LATEST_MS
from stream_monitor.contracts import DeadLetter
from stream_monitor.ingest.batch import Ints
from stream_monitor.ingest.records import ConsumerRecord

DecodedRecord = tuple[ConsumerRecord, Event | DeadLetter]
ControlRecord = ModelUpdate | Command | Topology
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
    events: dict[tuple[str, str], list[tuple[ConsumerRecord, InferenceEvent]]]
    labels: dict[str, list[tuple[int, int, Label]]]
    ticks: int
    rejected: list[DeadLetter]
    control_record: tuple[ConsumerRecord, ControlRecord] | None
    shadows: dict[tuple[str, str], list[tuple[ConsumerRecord, InferenceEvent]]] = field(
        default_factory=dict
    )

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
            return key if events[0][0].offset == self.first_offset else None
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
        before = self._part(slice(None, i), lambda at: at < offset, 0, None)
        return before, self._part(
            slice(i, None), lambda at: at >= offset, self.ticks, self.control_record
        )

    def _part(
        self,
        where: slice,
        inside: Callable[[int], bool],
        ticks: int,
        control_record: tuple[ConsumerRecord, ControlRecord] | None,
    ) -> MicroBatch:
        """The records at ``where``, whose offsets are ``inside``."""
        events = _entries_inside(self.events, inside)
        labels = {
            model: kept_rows
            for model, rows in self.labels.items()
            if (kept_rows := [row for row in rows if inside(row[0])])
        }
        rejected = [dead_letter for dead_letter in self.rejected if inside(dead_letter.offset)]
        return MicroBatch(
            self.offsets[where],
            self.timestamps_ms[where],
            events,
            labels,
            ticks,
            rejected,
            control_record,
            _entries_inside(self.shadows, inside),
        )


def _entries_inside(
    groups: dict[tuple[str, str], list[tuple[ConsumerRecord, InferenceEvent]]],
    inside: Callable[[int], bool],
) -> dict[tuple[str, str], list[tuple[ConsumerRecord, InferenceEvent]]]:
    """The entries whose offsets are ``inside``, by the first of each key."""
    kept = {
        key: some
        for key, entries in groups.items()
        if (some := [entry for entry in entries if inside(entry[0].offset)])
    }
    return dict(sorted(kept.items(), key=lambda item: item[1][0][0].offset))


def split_micro_batches(
    entries: Sequence[DecodedRecord], max_micro_batch_offsets: int = 4096
) -> list[MicroBatch]:
    """Cut records, in offset order, into micro-batches.  No record is lost or moved."""
    if not entries:
        return []
    classes = [event.__class__ for _, event in entries]
    span = np.array([record.offset for record, _ in entries], dtype=np.int64)
    span //= max_micro_batch_offsets
    cuts = {0, len(entries), *(np.flatnonzero(np.diff(span)) + 1).tolist()}
    if not _CONTROL.isdisjoint(classes):
        cuts.update(i + 1 for i, kind in enumerate(classes) if kind in _CONTROL)
    return [_micro_batch(entries[start:end]) for start, end in pairwise(sorted(cuts))]


def _micro_batch(run: Sequence[DecodedRecord]) -> MicroBatch:
    events: dict[tuple[str, str], list[tuple[ConsumerRecord, InferenceEvent]]] = {}
    labels: dict[str, list[tuple[int, int, Label]]] = {}
    shadows: dict[tuple[str, str], list[tuple[ConsumerRecord, InferenceEvent]]] = {}
    ticks = 0
    rejected: list[DeadLetter] = []
    control_record: tuple[ConsumerRecord, ControlRecord] | None = None
    key = _only_version(run)
    if key is not None:
        events[key] = cast("list[tuple[ConsumerRecord, InferenceEvent]]", run)
    model = version = None  # consecutive events are mostly of one version: keep its list
    group: list[Any] = []
    for entry in run if key is None else ():
        record, event = entry
        if isinstance(event, InferenceEvent):
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
    return MicroBatch(
        np.array([record.offset for record, _ in run], dtype=np.int64),
        _timestamps_ms(run, rejected),
        events,
        labels,
        ticks,
        rejected,
        control_record,
        shadows,
    )


def _only_version(run: Sequence[DecodedRecord]) -> tuple[str, str] | None:
    """The model and version of all records; ``None`` if one differs, is a shadow or no event."""
    if not all(issubclass(kind, InferenceEvent) for kind in {event.__class__ for _, event in run}):
        return None
    events = cast("Sequence[tuple[ConsumerRecord, InferenceEvent]]", run)
    keys = {(event.model, event.version, event.shadow) for _, event in events}
    model, version, shadow = next(iter(keys))
    return None if len(keys) > 1 or shadow else (model, version)


def _timestamps_ms(run: Sequence[DecodedRecord], rejected: list[DeadLetter]) -> Ints:
    """Append times (n,); an impossible one, for which its record was rejected, counts as 0."""
    found = [record.timestamp_ms for record, _ in run]
    if rejected:
        found = [time_ms if time_ms <= LATEST_MS else 0 for time_ms in found]
    return np.array(found, dtype=np.int64)
