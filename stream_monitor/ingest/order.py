"""The plan of a batch: runs of records that may be worked on as columns, in the log's order.

Events and labels commute with what other rooms do between them, so they are taken in bulk.  What
does not commute ends a run: a `ModelUpdate` or a `Command` (the barrier, obeyed after the rest),
and every so many offsets its end, at which repeated ids are forgotten.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from producer.events import Command, Event, InferenceEvent, Label, ModelUpdate
from stream_monitor.ingest.batch import Ints
from stream_monitor.ingest.records import LogRecord

Entry = tuple[LogRecord, Event]


@dataclass(frozen=True, slots=True)
class Segment:
    """Consecutive accepted records of one span of offsets, up to and including a barrier.

    ``offsets`` and ``timestamps_ms`` (append time) have one element per record, the barrier and
    ticks included.  ``events`` and ``labels`` (offset, append time, label) keep the log's order
    within a key, and the keys come in the order of their first events.
    """

    offsets: Ints
    timestamps_ms: Ints
    events: dict[tuple[str, str], list[tuple[LogRecord, InferenceEvent]]]
    labels: dict[str, list[tuple[int, int, Label]]]
    ticks: int
    barrier: tuple[LogRecord, ModelUpdate | Command] | None

    @property
    def first_offset(self) -> int:
        """Offset of the first record."""
        return int(self.offsets[0])

    @property
    def last_offset(self) -> int:
        """Offset of the last record."""
        return int(self.offsets[-1])

    def models(self) -> list[str]:
        """Models of events and labels, in the order of their first records."""
        firsts = [(events[0][0].offset, model) for (model, _), events in self.events.items()]
        firsts += [(labels[0][0], model) for model, labels in self.labels.items()]
        return list(dict.fromkeys(model for _, model in sorted(firsts)))

    def append_clock_ms(self, since_ms: int) -> Ints:
        """The partition's clock at every record, if it stood at ``since_ms`` before the first.

        It never goes back: brokers' clocks may, and a producer may stamp its records itself.
        """
        return np.maximum(np.maximum.accumulate(self.timestamps_ms), since_ms)

    def split(self, offset: int) -> tuple[Segment, Segment]:
        """What lies before the record at ``offset``, and the rest, with the barrier and all ticks.

        Ticks are only counted, so it does not matter in which of the two.
        """
        i = int(np.searchsorted(self.offsets, offset))
        before: dict[tuple[str, str], list[tuple[LogRecord, InferenceEvent]]] = {}
        rest: dict[tuple[str, str], list[tuple[LogRecord, InferenceEvent]]] = {}
        for key, entries in self.events.items():
            k = bisect_left(entries, offset, key=lambda entry: entry[0].offset)
            before |= {key: entries[:k]} if k else {}
            rest |= {key: entries[k:]} if k < len(entries) else {}
        first = sorted(rest.items(), key=lambda item: item[1][0][0].offset)
        early = {m: [x for x in labels if x[0] < offset] for m, labels in self.labels.items()}
        late = {m: [x for x in labels if x[0] >= offset] for m, labels in self.labels.items()}
        return (
            Segment(
                self.offsets[:i], self.timestamps_ms[:i], before,
                {m: labels for m, labels in early.items() if labels}, 0, None,
            ),
            Segment(
                self.offsets[i:], self.timestamps_ms[i:], dict(first),
                {m: labels for m, labels in late.items() if labels}, self.ticks, self.barrier,
            ),
        )  # fmt: skip


def segments(entries: Sequence[Entry], segment_events: int = 4096) -> list[Segment]:
    """Cut accepted records, in log order, into segments.  No record is lost or moved."""
    plan: list[Segment] = []
    run: list[Entry] = []
    end = 0
    for entry in entries:
        record, event = entry
        offset = record.offset
        if offset >= end:
            if run:
                plan.append(_segment(run))
                run = []
            end = (offset // segment_events + 1) * segment_events
        run.append(entry)
        kind = event.__class__
        if kind is ModelUpdate or kind is Command:
            plan.append(_segment(run))
            run = []
    if run:
        plan.append(_segment(run))
    return plan


def _segment(run: list[Entry]) -> Segment:
    events: dict[tuple[str, str], list[tuple[LogRecord, InferenceEvent]]] = {}
    labels: dict[str, list[tuple[int, int, Label]]] = {}
    ticks = 0
    barrier: tuple[LogRecord, ModelUpdate | Command] | None = None
    model = version = None  # consecutive events are mostly of one version: its list is at hand
    group: list[Any] = []
    for entry in run:
        record, event = entry
        if isinstance(event, InferenceEvent):
            if event.model != model or event.version != version:
                model, version = event.model, event.version
                group = events.setdefault((model, version), [])
            group.append((record, event))
        elif isinstance(event, Label):
            labels.setdefault(event.model, []).append((record.offset, record.timestamp_ms, event))
        elif isinstance(event, ModelUpdate | Command):
            barrier = (record, event)
        else:
            ticks += 1
    return Segment(
        np.array([record.offset for record, _ in run], dtype=np.int64),
        np.array([record.timestamp_ms for record, _ in run], dtype=np.int64),
        events,
        labels,
        ticks,
        barrier,
    )
