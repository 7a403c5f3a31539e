"""How much comes of one model, and when: records of a partition cut into slots of the append clock.

A slot is closed by the first record beyond it, whichever that is: ticks let time pass where nothing
else comes.  Where the clock leaps by more than `VolumeSpec.blind_ms` from one record to the next,
not even ticks were written, so the slots around the leap are not judged.

Event time is wanted of what is told: it is the latest one of an event, and what passed since.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np

from producer.drill import is_shadow
from stream_monitor.alerts.traffic import Point, Source
from stream_monitor.contracts import DriftAlert
from stream_monitor.ingest.batch import Ints
from stream_monitor.traffic.arrivals import NOTHING, Arrivals
from stream_monitor.traffic.slot import Slot
from stream_monitor.traffic.spec import VolumeSpec
from stream_monitor.watched.event_flow import EventFlow
from stream_monitor.watched.label_flow import LabelFlow

Arl0 = Callable[[str, int], float]
"""(version, offset) -> events between false alarms of a detector of that version there."""


class Flow:
    """Events and labels of one model by slot, and the episodes they lead to.

    What comes is given by `take`, and worked on by `observe` with the records it lies among.
    Events of all versions count: a canary, a rollback, or two versions side by side are the traffic
    of one model.
    """

    def __init__(self, topic: str, partition: int, model: str, spec: VolumeSpec) -> None:
        self._where, self._spec = (topic, partition, model), spec
        self._watched = spec.enabled and not is_shadow(model)  # a drill comes and goes
        self._events, self._labels = EventFlow(spec), LabelFlow(spec)
        self._new = NOTHING
        self._version = ""
        self._champion: str | None = None
        self._slot = -1
        self._latest_ms = 0
        self._event, self._event_clock_ms = (0, 0), 0
        self._label, self._label_clock_ms = (0, 0), 0
        self._lasts: dict[str, tuple[int, int, int]] = {}
        self._begin(seen=False, at=(0, 0))
        self._dirty = self._closed = True

    def _begin(self, *, seen: bool, at: tuple[int, int]) -> None:
        self._seen, self._at = seen, at
        self._n_events = self._n_labels = self._delays = self._n_delays = 0
        self._by_version: dict[str, int] = {}

    def take(self, arrivals: Arrivals) -> None:
        """What came among the records that are given to `observe` next."""
        self._new = arrivals

    def observe(
        self,
        offsets: Ints,
        clock_ms: Ints,
        since_ms: int,
        arl0: Arl0,
        champion: str | None = None,
    ) -> list[DriftAlert]:
        """Take the next records (n,), and where the append clock stood before them.

        Nothing is watched before the first event.  What is told is told of the ``champion``, and
        without one of the version that had the latest event.
        """
        new, self._new = self._new, NOTHING
        slots = clock_ms // self._spec.slot_ms
        rows = np.searchsorted(offsets, new.offsets)
        first = 0
        if self._slot < 0:
            if not len(rows) or not self._watched:
                return []
            first = int(rows[0])
            self._slot = int(slots[first])
            self._begin(seen=False, at=(int(offsets[first]), int(new.times_ms[0])))
        blind = np.diff(clock_ms, prepend=since_ms) > self._spec.blind_ms
        edges = np.flatnonzero((np.diff(slots, prepend=self._slot) != 0) | blind)
        edges = edges[edges > first] if first else edges
        if not len(edges) and not new:
            return []
        self._dirty = True
        self._champion = champion
        if champion is not None:
            self._version = champion
        alerts: list[DriftAlert] = []
        ends = [*edges.tolist(), len(offsets)]
        self._add(new, rows, offsets, clock_ms, first, ends[0])
        for start, end in pairwise(ends):
            at = int(offsets[start])
            alerts += self._advance(at, int(clock_ms[start]), arl0, blind=bool(blind[start]))
            self._add(new, rows, offsets, clock_ms, start, end)
        return alerts

    def _add(
        self, new: Arrivals, rows: Ints, offsets: Ints, clock_ms: Ints, start: int, end: int
    ) -> None:
        """Count what came in the records from ``start`` to before ``end``."""
        a, b = np.searchsorted(rows, (start, end)).tolist()
        limit = offsets[end] if end < len(offsets) else offsets[-1] + 1
        c, d = np.searchsorted(new.labels, (offsets[start], limit)).tolist()
        if d > c:
            self._n_labels += d - c
            last = int(new.labels[d - 1])
            before = a + int(np.searchsorted(new.offsets[a:b], last))  # no event after it counts
            self._follow(new, rows, clock_ms, a, before)
            self._label_clock_ms = int(clock_ms[np.searchsorted(offsets, last)])
            self._label = last, self._time_at(self._label_clock_ms)
            a = before
        self._follow(new, rows, clock_ms, a, b)
        e, f = np.searchsorted(new.joined, (offsets[start], limit)).tolist()
        self._delays += int(new.delays[e:f].sum())
        self._n_delays += f - e

    def _follow(self, new: Arrivals, rows: Ints, clock_ms: Ints, a: int, b: int) -> None:
        """Events from ``a`` to before ``b`` came."""
        if b == a:
            return
        self._n_events += b - a
        for i in np.unique(new.who[a:b]).tolist():
            mine = a + np.flatnonzero(new.who[a:b] == i)
            last, version = int(mine[-1]), new.versions[i]
            time_ms = max(self._latest_ms, int(new.times_ms[a : last + 1].max()))
            self._by_version[version] = self._by_version.get(version, 0) + len(mine)
            self._lasts[version] = int(new.offsets[last]), time_ms, int(clock_ms[rows[last]])
        self._latest_ms = max(self._latest_ms, int(new.times_ms[a:b].max()))
        self._event = int(new.offsets[b - 1]), self._latest_ms
        self._event_clock_ms = int(clock_ms[rows[b - 1]])
        if self._champion is None:
            self._version = new.versions[int(new.who[b - 1])]

    def _time_at(self, clock_ms: int) -> int:
        """Event time: the latest of an event, and what passed since."""
        return self._latest_ms + max(0, clock_ms - self._event_clock_ms)

    def _advance(self, offset: int, clock_ms: int, arl0: Arl0, *, blind: bool) -> list[DriftAlert]:
        """The record at ``offset`` lies beyond a slot, or after a leap of the clock."""
        slot = clock_ms // self._spec.slot_ms
        at = offset, self._time_at(clock_ms)
        self._seen = self._seen and not blind
        if slot == self._slot:
            return []
        alerts = self._close(at, clock_ms, arl0)
        while not blind and self._slot + 1 < slot:
            self._slot += 1
            self._begin(seen=True, at=at)
            alerts += self._close(at, clock_ms, arl0)
        self._slot = slot
        self._begin(seen=not blind, at=at)
        return alerts

    def _close(self, end: tuple[int, int], clock_ms: int, arl0: Arl0) -> list[DriftAlert]:
        self._closed = True
        slot = Slot(
            self._slot, self._seen, self._n_events, self._n_labels, self._delays, self._n_delays,
            self._at, end, clock_ms, self._event, self._event_clock_ms, self._label,
            self._label_clock_ms, arl0(self._version, end[0]), self._by_version, self._lasts,
        )  # fmt: skip
        source = Source(*self._where, self._version)
        alerts = self._events.close(slot, source)
        lately = self._events.leading.versions
        self._lasts = {version: last for version, last in self._lasts.items() if version in lately}
        silent = self._events.silence is not None
        return alerts + self._labels.close(slot, source, silent=silent)

    def supersede(self, offset: int, clock_ms: int) -> list[DriftAlert]:
        """The model is forgotten; what is open ends as superseded."""
        at = Point(offset, self._time_at(clock_ms))
        return self._events.supersede(at) + self._labels.supersede(at)

    def begin_anew(self, offset: int, clock_ms: int) -> list[DriftAlert]:
        """The model was placed elsewhere, wholly or in part: what is usual here is learnt anew."""
        if self._slot < 0:
            return []
        at = Point(offset, self._time_at(clock_ms))
        alerts = self._events.supersede(at) + self._labels.supersede(at)
        self._events, self._labels = EventFlow(self._spec), LabelFlow(self._spec)
        self._new, self._slot = NOTHING, -1
        self._begin(seen=False, at=(0, 0))
        self._dirty = self._closed = True
        return alerts

    def resolve(self, alert: DriftAlert, offset: int, clock_ms: int) -> list[DriftAlert]:
        """A person ends the episode of ``alert``."""
        self._closed = True
        flow = self._events if alert.kind == "volume" else self._labels
        return flow.resolve(alert.channel, self._slot, Point(offset, self._time_at(clock_ms)))

    @property
    def events_per_week(self) -> float | None:
        """As many as the append clock has seen so far; ``None`` before its baseline is over."""
        return self._events.events_per_week

    def open(self) -> list[DriftAlert]:
        """The latest alerts of the open episodes."""
        return self._events.open() + self._labels.open()

    def dirty(self) -> dict[str, Any]:
        """The parts that changed since `clean`."""
        parts: dict[str, Any] = {}
        if self._dirty:
            parts["now"] = [
                self._version, self._slot, self._seen, list(self._at),
                self._n_events, self._n_labels, self._delays, self._n_delays, self._latest_ms,
                list(self._event), self._event_clock_ms, list(self._label), self._label_clock_ms,
            ]  # fmt: skip
            parts["versions"] = [
                dict(sorted(self._by_version.items())), dict(sorted(self._lasts.items())),
            ]  # fmt: skip
        if self._closed:
            parts["learnt"] = [self._events.snapshot(), self._labels.snapshot()]
        return parts

    def clean(self) -> None:
        """What `dirty` gave is durable."""
        self._dirty = self._closed = False

    def restore(self, parts: dict[str, Any]) -> None:
        """Continue from the parts; states of before had none, and what is missing begins."""
        if "now" not in parts:
            return
        self._version, *now = parts["now"]
        (
            self._slot,
            self._seen,
            at,
            self._n_events,
            self._n_labels,
            self._delays,
            self._n_delays,
            self._latest_ms,
            event,
            self._event_clock_ms,
            label,
            self._label_clock_ms,
        ) = now[-12:]  # fmt: skip - two more stood before them, of versions that had been retired
        self._at, self._event, self._label = tuple(at), tuple(event), tuple(label)
        if "versions" in parts:
            self._by_version, self._lasts = msgspec.convert(
                parts["versions"], tuple[dict[str, int], dict[str, tuple[int, int, int]]]
            )
        if "learnt" in parts:
            events, labels = parts["learnt"]
            self._events.restore(events)
            self._labels.restore(labels)
        self.clean()
