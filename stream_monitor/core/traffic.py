"""Traffic monitor of one model: counts events and labels in buckets of the append clock.

A bucket is closed by the first record after it; where no events arrive, ticks are such records.
Where the clock jumps by more than `TrafficSpec.max_gap_ms` between two records, ticks are missing
too, so the buckets around the gap are not evaluated.

Alerts have event times: the latest event time plus the append-clock time since.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec
import numpy as np

from producer.synthetic import is_synthetic
from stream_monitor.checks.delay_history import log_delay
from stream_monitor.checks.event_volume import EventVolumeCheck
from stream_monitor.checks.label_delay import LabelDelayCheck
from stream_monitor.checks.traffic_bucket import TrafficBucket
from stream_monitor.checks.traffic_spec import TrafficSpec
from stream_monitor.contracts import DriftAlert
from stream_monitor.episodes.alert import alert_of
from stream_monitor.episodes.finding import AlertSource, EventPosition, Finding
from stream_monitor.ingest.batch import Bools, EventBatch, Ints
from stream_monitor.state_parts import StoredParts

_NONE = np.zeros(0, dtype=np.int64)


class Arrivals(NamedTuple):
    """Events (n,), labels (m,) and joined labels (k,), each in offset order.

    ``version_index`` is the index of an event's version in ``versions``; ``labels`` and ``joined``
    are offsets, ``delays`` logarithms.
    """

    offsets: Ints
    times_ms: Ints
    version_index: Ints
    versions: Sequence[str]
    labels: Ints
    joined: Ints
    delays: Ints

    def __bool__(self) -> bool:
        return bool(len(self.offsets) or len(self.labels))


NO_ARRIVALS = Arrivals(_NONE, _NONE, _NONE, (), _NONE, _NONE, _NONE)


def arrivals_of(
    batches: Sequence[EventBatch], labels: Iterable[int], delays: Iterable[tuple[int, int]]
) -> Arrivals:
    """Return the arrivals in batches, offsets of labels, and (offset, delay) of joined labels."""
    label_offsets = np.array(sorted(labels), dtype=np.int64)
    known = [(offset, log_delay(delay_ms)) for offset, delay_ms in delays if delay_ms]
    pairs = np.array(known, dtype=np.int64).reshape(-1, 2)
    if not batches:
        return NO_ARRIVALS._replace(labels=label_offsets, joined=pairs[:, 0], delays=pairs[:, 1])
    sizes = [len(batch) for batch in batches]
    offsets = np.concatenate([batch.offsets for batch in batches])
    times_ms = np.concatenate([batch.times_ms for batch in batches])
    version_index = np.repeat(np.arange(len(batches), dtype=np.int64), sizes)
    if len(batches) > 1:
        order = np.argsort(offsets, kind="stable")
        offsets, times_ms, version_index = offsets[order], times_ms[order], version_index[order]
    versions = [batch.version for batch in batches]
    return Arrivals(
        offsets, times_ms, version_index, versions, label_offsets, pairs[:, 0], pairs[:, 1]
    )


Arl0 = Callable[[str, int], float]
"""(version, offset) -> events between false alarms of a detector of that version there."""


class AppendClock(NamedTuple):
    """The append clock (ms) at n records, with values that all models share; arrays are (n,).

    ``buckets`` are the numbers of the buckets; ``blind`` marks the records after a clock gap.
    ``edges`` are the records, but the first, that begin a bucket or come after a gap.
    """

    times_ms: Ints
    buckets: Ints
    blind: Bools
    edges: Ints

    @classmethod
    def of(cls, times_ms: Ints, since_ms: int, spec: TrafficSpec) -> AppendClock:
        """Prepare the times of n records; the append clock was at ``since_ms`` before them."""
        buckets = times_ms // spec.bucket_ms
        blind = np.diff(times_ms, prepend=since_ms) > spec.max_gap_ms
        return cls(
            times_ms, buckets, blind, np.flatnonzero((buckets[1:] != buckets[:-1]) | blind[1:]) + 1
        )


class BucketCounts(msgspec.Struct, array_like=True):
    """The counts of the open bucket.

    It began at ``at``; ``seen``: no clock gap lies in it.  ``delays`` is
    the sum of the label delays of ``n_delays`` labels.
    """

    seen: bool = False
    at: EventPosition = EventPosition(0, 0)
    n_events: int = 0
    n_labels: int = 0
    delays: int = 0
    n_delays: int = 0
    by_version: dict[str, int] = msgspec.field(default_factory=dict)


class TrafficState(msgspec.Struct, array_like=True):
    """The state of a `TrafficMonitor` but for what its checks learned.

    ``bucket`` is the number of the open one, -1 before the first event.  ``event`` and ``label``
    are the latest ones, each with the append clock there; ``lasts`` has offset, event time and
    append clock of the latest event of each version.
    """

    version: str = ""
    bucket: int = -1
    counts: BucketCounts = msgspec.field(default_factory=BucketCounts)
    latest_ms: int = 0
    event: EventPosition = EventPosition(0, 0)
    event_clock_ms: int = 0
    label: EventPosition = EventPosition(0, 0)
    label_clock_ms: int = 0
    lasts: dict[str, tuple[int, int, int]] = msgspec.field(default_factory=dict)


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
        self._champion: str | None = None
        self._state = TrafficState()
        self._has_changes = self._closed = True

    def take(self, arrivals: Arrivals) -> None:
        """Store the arrivals for the next call of `observe`."""
        self._new = arrivals

    def observe(
        self, offsets: Ints, clock: AppendClock, arl0: Arl0, champion: str | None = None
    ) -> list[DriftAlert]:
        """Apply the next records (n,), at which the append clock is ``clock``.

        Nothing is evaluated before the first event.  Alerts name the ``champion`` as version, and
        without one the version of the latest event.
        """
        new, self._new = self._new, NO_ARRIVALS
        clock_ms, buckets, blind, edges = clock
        if self._state.bucket < 0 and not len(new.offsets):
            return []
        rows = offsets.searchsorted(new.offsets)
        first = 0
        if self._state.bucket < 0:
            if not len(rows) or not self._watched:
                return []
            first = int(rows[0])
            self._state.bucket = int(buckets[first])
            self._state.counts = BucketCounts(
                at=EventPosition(int(offsets[first]), int(new.times_ms[0]))
            )
        if int(buckets[0]) != self._state.bucket or blind[0]:
            edges = np.concatenate(([0], edges))
        edges = edges[edges > first] if first else edges
        if not len(edges) and not new:
            return []
        self._has_changes = True
        self._champion = champion
        if champion is not None:
            self._state.version = champion
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
        state, counts = self._state, self._state.counts
        if d > c:
            counts.n_labels += d - c
            last = int(new.labels[d - 1])
            before = a + int(np.searchsorted(new.offsets[a:b], last))  # no event after it counts
            self._follow(new, rows, clock_ms, a, before)
            state.label_clock_ms = int(clock_ms[np.searchsorted(offsets, last)])
            state.label = EventPosition(last, self._time_at(state.label_clock_ms))
            a = before
        self._follow(new, rows, clock_ms, a, b)
        e, f = np.searchsorted(new.joined, (offsets[start], limit)).tolist()
        counts.delays += int(new.delays[e:f].sum())
        counts.n_delays += f - e

    def _follow(self, new: Arrivals, rows: Ints, clock_ms: Ints, a: int, b: int) -> None:
        """Count the events from ``a`` to before ``b``."""
        if b == a:
            return
        state, counts = self._state, self._state.counts
        counts.n_events += b - a
        for i in np.unique(new.version_index[a:b]).tolist():
            mine = a + np.flatnonzero(new.version_index[a:b] == i)
            last, version = int(mine[-1]), new.versions[i]
            time_ms = max(state.latest_ms, int(new.times_ms[a : last + 1].max()))
            counts.by_version[version] = counts.by_version.get(version, 0) + len(mine)
            state.lasts[version] = int(new.offsets[last]), time_ms, int(clock_ms[rows[last]])
        counts.by_version = dict(sorted(counts.by_version.items()))
        state.lasts = dict(sorted(state.lasts.items()))
        state.latest_ms = max(state.latest_ms, int(new.times_ms[a:b].max()))
        state.event = EventPosition(int(new.offsets[b - 1]), state.latest_ms)
        state.event_clock_ms = int(clock_ms[rows[b - 1]])
        if self._champion is None:
            state.version = new.versions[int(new.version_index[b - 1])]

    def _time_at(self, clock_ms: int) -> int:
        """Event time (ms): the latest one of an event plus the append-clock time since."""
        return self._state.latest_ms + max(0, clock_ms - self._state.event_clock_ms)

    def _advance(self, offset: int, clock_ms: int, arl0: Arl0, *, blind: bool) -> list[DriftAlert]:
        """Advance to the record at ``offset``: it is after the bucket, or after a clock gap."""
        bucket = clock_ms // self._spec.bucket_ms
        at = EventPosition(offset, self._time_at(clock_ms))
        state = self._state
        # Records without a clock gap between them are at most so many buckets apart; more is a
        # damaged state, and evaluating each bucket up to now could take hours.
        blind = blind or bucket - state.bucket > self._spec.max_gap_ms // self._spec.bucket_ms + 1
        state.counts.seen = state.counts.seen and not blind
        if bucket == state.bucket:
            return []
        alerts = self._close(at, clock_ms, arl0)
        while not blind and state.bucket + 1 < bucket:
            state.bucket += 1
            state.counts = BucketCounts(seen=True, at=at)
            alerts += self._close(at, clock_ms, arl0)
        state.bucket, state.counts = bucket, BucketCounts(seen=not blind, at=at)
        return alerts

    def _close(self, end: EventPosition, clock_ms: int, arl0: Arl0) -> list[DriftAlert]:
        self._closed = True
        state, counts = self._state, self._state.counts
        bucket = TrafficBucket(
            AlertSource(*self._where, state.version),
            state.bucket,
            counts.seen,
            counts.n_events,
            counts.n_labels,
            counts.delays,
            counts.n_delays,
            counts.at,
            end,
            clock_ms,
            state.event,
            state.event_clock_ms,
            state.label,
            state.label_clock_ms,
            arl0(state.version, end.offset),
            counts.by_version,
            state.lasts,
        )
        findings = self._events.observe(bucket)
        lately = self._events.leading.versions
        state.lasts = {version: last for version, last in state.lasts.items() if version in lately}
        findings += self._labels.observe(bucket._replace(is_silent=self._events.is_silent))
        return list(map(alert_of, findings))

    def supersede(self, offset: int, clock_ms: int) -> list[DriftAlert]:
        """End open episodes as superseded: the model is removed."""
        at = EventPosition(offset, self._time_at(clock_ms))
        ended = self._events.end("superseded", at) + self._labels.end("superseded", at)
        return list(map(alert_of, ended))

    def restart(self, offset: int, clock_ms: int) -> list[DriftAlert]:
        """Restart the learning of the usual traffic: the model moved, wholly or in part."""
        if self._state.bucket < 0:
            return []
        alerts = self.supersede(offset, clock_ms)
        self._events, self._labels = EventVolumeCheck(self._spec), LabelDelayCheck(self._spec)
        self._new = NO_ARRIVALS
        self._state.bucket, self._state.counts = -1, BucketCounts()
        self._has_changes = self._closed = True
        return alerts

    def resolve(self, alert: DriftAlert, offset: int, clock_ms: int) -> list[DriftAlert]:
        """End the episode of ``alert`` on a user's command."""
        self._closed = True
        check = self._events if alert.series == self._events.series else self._labels
        at = EventPosition(offset, self._time_at(clock_ms))
        return list(map(alert_of, check.end("resolved", at, alert)))

    @property
    def events_per_week(self) -> float | None:
        """Events per week of the append clock so far; ``None`` while the baseline is learned."""
        return self._events.events_per_week

    def open(self) -> list[Finding]:
        """The latest findings of the open episodes."""
        return self._events.open() + self._labels.open()

    def take_changes(self) -> dict[str, Any]:
        """The parts that changed since the last call."""
        parts: dict[str, Any] = {}
        if self._has_changes:
            parts["now"] = self._state
        if self._closed:
            parts["learnt"] = [self._events.snapshot(), self._labels.snapshot()]
        self._has_changes = self._closed = False
        return parts

    def restore(self, parts: StoredParts) -> None:
        """Continue from the parts."""
        self._state = parts.read("now", TrafficState)
        events, labels = parts.read("learnt", tuple[msgspec.Raw, msgspec.Raw])
        self._events.restore(events)
        self._labels.restore(labels)
        self._has_changes = self._closed = False
