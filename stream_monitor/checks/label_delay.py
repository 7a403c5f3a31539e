"""The labels of one model on the append clock: none while predictions come, or later than usual.

A gap is as long as it is usual for labels, whether they come one by one or once a night.  How long
after its prediction a label comes is averaged over 24 hours of labels, on a logarithmic scale.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from stream_monitor.checks.delay_history import DelayHistory
from stream_monitor.checks.traffic_bucket import TrafficBucket
from stream_monitor.checks.traffic_spec import DAY_MS, TrafficSpec
from stream_monitor.contracts import DriftAlert, Phase
from stream_monitor.episodes.alert import AlertSource, EventPosition
from stream_monitor.episodes.traffic_alert import (
    TrafficFinding,
    ended_alert,
    later_alert,
    severity_of,
    started_alert,
    worse,
)
from stream_monitor.episodes.traffic_messages import (
    label_delay_message,
    label_delay_recovered_message,
    label_outage_ended_message,
    label_outage_message,
)
from stream_monitor.state_parts import as_type
from stream_monitor.statistics.counts import Extremes, neg_log_probability

_SPAN_MS: Final = 28 * DAY_MS
_FACTOR: Final = 2.0  # times the longest gap: labels come by jobs, and jobs are late at times
_HOUR_MS: Final = 3_600_000


class LabelDelayCheck:
    """Gaps between labels, and their delays, of one model."""

    def __init__(self, spec: TrafficSpec) -> None:
        self._spec = spec
        self._gaps = Extremes(_SPAN_MS // spec.bucket_ms)
        self._delays = DelayHistory(spec)
        self._age = -1  # slots since the first label
        self._gap = 0
        self._since_ms = self._told_gap = 0
        self._outage: DriftAlert | None = None
        self._late: DriftAlert | None = None

    def open(self) -> list[DriftAlert]:
        """The latest alerts of the open episodes."""
        return [alert for alert in (self._outage, self._late) if alert is not None]

    def close(
        self, bucket: TrafficBucket, source: AlertSource, *, silent: bool
    ) -> list[DriftAlert]:
        """A slot is over.  ``silent``: predictions do not come either."""
        if self._age < 0 and not bucket.n_labels:
            return []
        alerts = []
        if bucket.n_labels:
            alerts = self._labels_came(bucket)
        elif bucket.seen and not silent:
            alerts = self._none_came(bucket, source)
        self._age += bucket.seen or self._age < 0
        return alerts + self._delay(bucket, source)

    def _labels_came(self, bucket: TrafficBucket) -> list[DriftAlert]:
        gap, self._gap = self._gap, 0
        if self._outage is None:
            self._gaps.learn(bucket.number, gap, bucket.n_labels)
            return []
        told, self._outage = self._outage, None
        if self._told_gap:  # what happens again is how it is
            self._gaps.learn(bucket.number, min(gap, self._told_gap))
        self._told_gap = gap
        message = label_outage_ended_message(
            max(0, bucket.number * self._spec.bucket_ms - self._since_ms)
        )
        finding = TrafficFinding(message, told.severity, 1.0, 0.0, bucket.n_labels)
        return [later_alert(told, "recovered", EventPosition(*bucket.end), finding)]

    def _none_came(self, bucket: TrafficBucket, source: AlertSource) -> list[DriftAlert]:
        self._gap += 1
        bucket_ms, chance = self._spec.bucket_ms, neg_log_probability(bucket.arl0)
        limit = max(self._gaps.limit(0.0, max(_FACTOR, self._scales(chance))), self._least())
        young = self._age * bucket_ms < self._spec.label_baseline_ms
        if young or self._outage is not None or not bucket.n_events or self._gap <= limit:
            return []
        silent_ms = bucket.clock_ms - bucket.label_clock_ms
        times = self._gap / max(self._gaps.largest, 1.0)
        message = label_outage_message(silent_ms, round(self._gaps.largest * bucket_ms))
        finding = TrafficFinding(message, "high" if times >= 5 else "medium", 1 / times, chance, 0)
        self._outage = started_alert(
            source,
            "labels",
            "outage",
            "down",
            EventPosition(*bucket.last_label),
            EventPosition(*bucket.end),
            finding,
        )
        self._since_ms = bucket.label_clock_ms
        return [self._outage]

    def _scales(self, chance: float) -> float:
        return chance / math.log(math.e + self._gaps.n)

    def _least(self) -> int:
        return self._spec.cell_buckets

    def _delay(self, bucket: TrafficBucket, source: AlertSource) -> list[DriftAlert]:
        """A cell that is over is judged with the 23 before it."""
        buckets = max(
            bucket.arl0 / max(self._delays.per_bucket, 1e-9), 180 * DAY_MS / self._spec.bucket_ms
        )
        chance = neg_log_probability(buckets / (24 * self._spec.cell_buckets))
        seen = self._delays.take(bucket, chance, learn=self._late is None)
        if seen is None:
            return []
        end, told = EventPosition(*bucket.end), self._late
        usual_ms, now_ms = seen.usual_ms, seen.now_ms
        if told is None:
            if not seen.late:
                return []
            onset = EventPosition(*seen.onset)
            message = label_delay_message(usual_ms, now_ms, onset.time_ms)
        elif seen.over:
            message = label_delay_recovered_message(now_ms)
        else:
            message = label_delay_message(usual_ms, now_ms, told.onset_ms, worse=True)
        ratio = now_ms / usual_ms
        finding = TrafficFinding(
            message,
            severity_of(ratio),
            ratio,
            seen.deviance,
            seen.n_labels,
            usual_ms / _HOUR_MS,
            now_ms / _HOUR_MS,
        )
        if told is None:
            self._late = started_alert(source, "labels", "delay", "up", onset, end, finding)
            return [self._late]
        if not seen.over and not worse(finding, told):
            return []
        phase: Phase = "recovered" if seen.over else "ongoing"
        alert = later_alert(told, phase, end, finding)
        self._late = None if seen.over else alert
        return [alert]

    def supersede(self, at: EventPosition) -> list[DriftAlert]:
        """The model is forgotten: what is open ends."""
        alerts = [ended_alert(alert, "superseded", at) for alert in self.open()]
        self._outage = self._late = None
        return alerts

    def resolve(self, channel: str, bucket: int, at: EventPosition) -> list[DriftAlert]:
        """A person ends an episode: such a gap is usual now, or the delay is learnt anew."""
        told = self._outage if channel == "outage" else self._late
        if told is None:
            return []
        if channel == "outage":
            self._outage = None
            self._gaps.learn(bucket, self._gap)
        else:
            self._late = None
            self._delays = DelayHistory(self._spec)
        return [ended_alert(told, "resolved", at)]

    def snapshot(self) -> list[Any]:
        """The state as plain data."""
        return [
            self._gaps,
            self._delays.snapshot(),
            self._age,
            self._gap,
            self._since_ms,
            self._told_gap,
            *(msgspec.to_builtins(alert) for alert in (self._outage, self._late)),
        ]

    def restore(self, data: Sequence[Any]) -> None:
        """Restore from `snapshot`.  Raises ValueError where it does not fit."""
        gaps, delays, self._age, self._gap, self._since_ms, *more = data
        self._told_gap, out, late = more
        self._gaps = as_type(gaps, Extremes)
        self._delays.restore(delays)
        self._outage = msgspec.convert(out, DriftAlert | None)
        self._late = msgspec.convert(late, DriftAlert | None)
