"""Traffic monitor of one model: counts events and labels in buckets of the append clock.

A bucket is closed by the first record after it; where no events arrive, ticks are such records.
Where the clock jumps by more than `TrafficSpec.max_gap_ms` between two records, ticks are missing
too, so the buckets around the gap are not evaluated.

Alerts have event times: the latest event time plus the append-clock time since.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np

from producer.synthetic import is_synthetic
from stream_monitor.checks.arrivals import NO_ARRIVALS, Arrivals
from stream_monitor.checks.event_volume import EventVolumeCheck
from stream_monitor.checks.label_delay import LabelDelayCheck
from stream_monitor.checks.traffic_bucket import TrafficBucket
from stream_monitor.checks.traffic_spec import TrafficSpec
from stream_monitor.contracts import DriftAlert
from stream_monitor.episodes.alert import AlertSource, EventPosition
from stream_monitor.ingest.batch import Ints

Arl0 = Callable[[str, int], float]
"""(version, offset) -> events between false alarms of a detector of that version there."""


class TrafficMonitor:
    """Counts the events and labels of one model per bucket, and runs the traffic checks.

    `take` receives the arrivals, `observe` evaluates them together with the records around them.
    Events of all versions count: a canary, a rollback, or two versions in parallel are the traffic
    of one model.
    """

    def __init__(self, topic: str, partition: int, model: str, spec: TrafficSpec) -> None:
        self._where, self._spec = (topic, partition, model), spec
        self._watched = spec.enabled and not is_synthetic(
            model
        )  # the traffic of a drill starts and stops
        self._events, self._labels = EventVolumeCheck(spec), LabelDelayCheck(spec)
        self._new = NO_ARRIVALS
        self._version = ""
        self._champion: str | None = None
        self._bucket = -1
        self._latest_ms = 0
        self._event, self._event_clock_ms = (0, 0), 0
        self._label, self._label_clock_ms = (0, 0), 0
        self._lasts: dict[str, tuple[int, int, int]] = {}
        self._begin(seen=False, at=(0, 0))
        self._has_changes = self._closed = True

    def _begin(self, *, seen: bool, at: tuple[int, int]) -> None:
        self._seen, self._at = seen, at
        self._n_events = self._n_labels = self._delays = self._n_delays = 0
        self._by_version: dict[str, int] = {}

    def take(self, arrivals: Arrivals) -> None:
        """Receive the arrivals among the records of the next call of `observe`."""
        self._new = arrivals

    def observe(
        self, offsets: Ints, clock_ms: Ints, since_ms: int, arl0: Arl0, champion: str | None = None
    ) -> list[DriftAlert]:
        """Apply the next records (n,); the append clock was at ``since_ms`` before them.

        Nothing is evaluated before the first event.  Alerts name the ``champion`` as version, and
        without one the version of the latest event.
        """
        new, self._new = self._new, NO_ARRIVALS
        buckets = clock_ms // self._spec.bucket_ms
        rows = np.searchsorted(offsets, new.offsets)
        first = 0
        if self._bucket < 0:
            if not len(rows) or not self._watched:
                return []
            first = int(rows[0])
            self._bucket = int(buckets[first])
            self._begin(seen=False, at=(int(offsets[first]), int(new.times_ms[0])))
        blind = np.diff(clock_ms, prepend=since_ms) > self._spec.max_gap_ms
        edges = np.flatnonzero((np.diff(buckets, prepend=self._bucket) != 0) | blind)
        edges = edges[edges > first] if first else edges
        if not len(edges) and not new:
            return []
        self._has_changes = True
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
        """Count the arrivals in the records from ``start`` to before ``end``."""
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
        """Count the events from ``a`` to before ``b``."""
        if b == a:
            return
        self._n_events += b - a
        for i in np.unique(new.version_index[a:b]).tolist():
            mine = a + np.flatnonzero(new.version_index[a:b] == i)
            last, version = int(mine[-1]), new.versions[i]
            time_ms = max(self._latest_ms, int(new.times_ms[a : last + 1].max()))
            self._by_version[version] = self._by_version.get(version, 0) + len(mine)
            self._lasts[version] = int(new.offsets[last]), time_ms, int(clock_ms[rows[last]])
        self._latest_ms = max(self._latest_ms, int(new.times_ms[a:b].max()))
        self._event = int(new.offsets[b - 1]), self._latest_ms
        self._event_clock_ms = int(clock_ms[rows[b - 1]])
        if self._champion is None:
            self._version = new.versions[int(new.version_index[b - 1])]

    def _time_at(self, clock_ms: int) -> int:
        """Event time (ms): the latest one of an event plus the append-clock time since."""
        return self._latest_ms + max(0, clock_ms - self._event_clock_ms)

    def _advance(self, offset: int, clock_ms: int, arl0: Arl0, *, blind: bool) -> list[DriftAlert]:
        """Advance to the record at ``offset``: it is after the bucket, or after a clock gap."""
        bucket = clock_ms // self._spec.bucket_ms
        at = offset, self._time_at(clock_ms)
        self._seen = self._seen and not blind
        if bucket == self._bucket:
            return []
        alerts = self._close(at, clock_ms, arl0)
        while not blind and self._bucket + 1 < bucket:
            self._bucket += 1
            self._begin(seen=True, at=at)
            alerts += self._close(at, clock_ms, arl0)
        self._bucket = bucket
        self._begin(seen=not blind, at=at)
        return alerts

    def _close(self, end: tuple[int, int], clock_ms: int, arl0: Arl0) -> list[DriftAlert]:
        self._closed = True
        bucket = TrafficBucket(
            self._bucket,
            self._seen,
            self._n_events,
            self._n_labels,
            self._delays,
            self._n_delays,
            self._at,
            end,
            clock_ms,
            self._event,
            self._event_clock_ms,
            self._label,
            self._label_clock_ms,
            arl0(self._version, end[0]),
            self._by_version,
            self._lasts,
        )
        source = AlertSource(*self._where, self._version)
        alerts = self._events.close(bucket, source)
        lately = self._events.leading.versions
        self._lasts = {version: last for version, last in self._lasts.items() if version in lately}
        silent = self._events.silence is not None
        return alerts + self._labels.close(bucket, source, silent=silent)

    def supersede(self, offset: int, clock_ms: int) -> list[DriftAlert]:
        """End open episodes as superseded: the model is removed."""
        at = EventPosition(offset, self._time_at(clock_ms))
        return self._events.supersede(at) + self._labels.supersede(at)

    def restart(self, offset: int, clock_ms: int) -> list[DriftAlert]:
        """Restart the learning of the usual traffic: the model moved, wholly or in part."""
        if self._bucket < 0:
            return []
        at = EventPosition(offset, self._time_at(clock_ms))
        alerts = self._events.supersede(at) + self._labels.supersede(at)
        self._events, self._labels = EventVolumeCheck(self._spec), LabelDelayCheck(self._spec)
        self._new, self._bucket = NO_ARRIVALS, -1
        self._begin(seen=False, at=(0, 0))
        self._has_changes = self._closed = True
        return alerts

    def resolve(self, alert: DriftAlert, offset: int, clock_ms: int) -> list[DriftAlert]:
        """End the episode of ``alert`` on a user's command."""
        self._closed = True
        flow = self._events if alert.kind == "volume" else self._labels
        return flow.resolve(
            alert.channel, self._bucket, EventPosition(offset, self._time_at(clock_ms))
        )

    @property
    def events_per_week(self) -> float | None:
        """Events per week of the append clock so far; ``None`` while the baseline is learned."""
        return self._events.events_per_week

    def open(self) -> list[DriftAlert]:
        """The latest alerts of the open episodes."""
        return self._events.open() + self._labels.open()

    def pending_changes(self) -> dict[str, Any]:
        """The parts that changed since `mark_committed`."""
        parts: dict[str, Any] = {}
        if self._has_changes:
            parts["now"] = [
                self._version,
                self._bucket,
                self._seen,
                list(self._at),
                self._n_events,
                self._n_labels,
                self._delays,
                self._n_delays,
                self._latest_ms,
                list(self._event),
                self._event_clock_ms,
                list(self._label),
                self._label_clock_ms,
            ]
            parts["versions"] = [
                dict(sorted(self._by_version.items())),
                dict(sorted(self._lasts.items())),
            ]
        if self._closed:
            parts["learnt"] = [self._events.snapshot(), self._labels.snapshot()]
        return parts

    def mark_committed(self) -> None:
        """Mark what `pending_changes` returned as durable."""
        self._has_changes = self._closed = False

    def restore(self, parts: dict[str, Any]) -> None:
        """Continue from the parts; missing parts of older states start empty."""
        if "now" not in parts:
            return
        self._version, *now = parts["now"]
        (
            self._bucket,
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
        ) = now[-12:]  # older states have two more fields before them
        self._at, self._event, self._label = tuple(at), tuple(event), tuple(label)
        if "versions" in parts:
            self._by_version, self._lasts = msgspec.convert(
                parts["versions"], tuple[dict[str, int], dict[str, tuple[int, int, int]]]
            )
        if "learnt" in parts:
            events, labels = parts["learnt"]
            self._events.restore(events)
            self._labels.restore(labels)
        self.mark_committed()
