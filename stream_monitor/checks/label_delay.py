"""The labels of one model on the append clock: none while predictions come, or later than usual.

A gap is as long as it is usual for labels, whether they come one by one or once a night.  How long
after its prediction a label comes is averaged over 24 hours of labels, on a logarithmic scale.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from stream_monitor.checks.check import Check
from stream_monitor.checks.delay_history import DelayHistory
from stream_monitor.checks.traffic_bucket import TrafficBucket
from stream_monitor.checks.traffic_finding import (
    TRAFFIC,
    TrafficEvidence,
    continue_episode,
    end_episode,
    severity_of,
    start_episode,
)
from stream_monitor.checks.traffic_spec import DAY_MS, TrafficSpec
from stream_monitor.contracts import DriftAlert, Phase, Severity
from stream_monitor.episodes.finding import EventPosition, Finding
from stream_monitor.episodes.rule_episode import RuleEpisode
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


class LabelDelayCheck(Check[TrafficBucket]):
    """The check of the labels of one model: outages, and their delay compared with the usual."""

    series = TRAFFIC["labels"]

    def __init__(self, spec: TrafficSpec) -> None:
        self._spec = spec
        self._gaps = Extremes(_SPAN_MS // spec.bucket_ms)
        self._delays = DelayHistory(spec)
        self._age = -1  # slots since the first label
        self._gap = 0
        self._since_ms = self._last_outage = 0
        self._outage = RuleEpisode()
        self._delay = RuleEpisode()
        self._bucket = 0

    def open(self) -> list[Finding]:
        """The latest findings of the open episodes."""
        latest = self._outage.latest, self._delay.latest
        return [finding for finding in latest if finding is not None]

    def level(self) -> int | None:
        """0: no change; 2: an open episode."""
        return 2 if self.open() else 0

    def observe(self, batch: TrafficBucket) -> list[Finding]:
        """Apply a closed bucket; returns the phases of episodes that it decided."""
        bucket, self._bucket = batch, batch.number
        if self._age < 0 and not bucket.n_labels:
            return []
        findings = []
        if bucket.n_labels:
            findings = self._labels_came(bucket)
        elif bucket.seen and not bucket.is_silent:
            findings = self._none_came(bucket)
        self._age += bucket.seen or self._age < 0
        return findings + self._observe_delay(bucket)

    def _labels_came(self, bucket: TrafficBucket) -> list[Finding]:
        gap, self._gap = self._gap, 0
        opened = self._outage.latest
        if opened is None:
            self._gaps.learn(bucket.number, gap, bucket.n_labels)
            return []
        if self._last_outage:  # a gap that occurs twice is usual
            self._gaps.learn(bucket.number, min(gap, self._last_outage))
        self._last_outage = gap
        message = label_outage_ended_message(
            max(0, bucket.number * self._spec.bucket_ms - self._since_ms)
        )
        evidence = TrafficEvidence(message, opened.severity, 1.0, 0.0, bucket.n_labels)
        return [continue_episode(self._outage, "recovered", EventPosition(*bucket.end), evidence)]

    def _none_came(self, bucket: TrafficBucket) -> list[Finding]:
        self._gap += 1
        bucket_ms, chance = self._spec.bucket_ms, neg_log_probability(bucket.arl0)
        limit = max(self._gaps.limit(0.0, max(_FACTOR, self._scales(chance))), self._least())
        young = self._age * bucket_ms < self._spec.label_baseline_ms
        if young or self._outage.latest or not bucket.n_events or self._gap <= limit:
            return []
        silent_ms = bucket.clock_ms - bucket.label_clock_ms
        times = self._gap / max(self._gaps.largest, 1.0)
        message = label_outage_message(silent_ms, round(self._gaps.largest * bucket_ms))
        severity: Severity = "high" if times >= 5 else "medium"
        evidence = TrafficEvidence(message, severity, 1 / times, chance, 0)
        self._since_ms = bucket.label_clock_ms
        return [
            start_episode(
                self._outage,
                bucket.source,
                "labels",
                "outage",
                "down",
                EventPosition(*bucket.last_label),
                EventPosition(*bucket.end),
                evidence,
            )
        ]

    def _scales(self, chance: float) -> float:
        return chance / math.log(math.e + self._gaps.n)

    def _least(self) -> int:
        return self._spec.cell_buckets

    def _observe_delay(self, bucket: TrafficBucket) -> list[Finding]:
        """At the end of a cell, compare the last 24 cells with the usual delay."""
        buckets = max(
            bucket.arl0 / max(self._delays.per_bucket, 1e-9), 180 * DAY_MS / self._spec.bucket_ms
        )
        chance = neg_log_probability(buckets / (24 * self._spec.cell_buckets))
        opened = self._delay.latest
        seen = self._delays.take(bucket, chance, learn=opened is None)
        if seen is None:
            return []
        end, onset = EventPosition(*bucket.end), EventPosition(*seen.onset)
        usual_ms, now_ms = seen.usual_ms, seen.now_ms
        if opened is None:
            message = label_delay_message(usual_ms, now_ms, onset.time_ms)
        elif seen.over:
            message = label_delay_recovered_message(now_ms)
        else:
            message = label_delay_message(usual_ms, now_ms, opened.onset.time_ms, worse=True)
        ratio = now_ms / usual_ms
        evidence = TrafficEvidence(
            message,
            severity_of(ratio),
            ratio,
            seen.deviance,
            seen.n_labels,
            usual_ms / _HOUR_MS,
            now_ms / _HOUR_MS,
        )
        if opened is None:
            if not seen.late:
                return []
            source = bucket.source
            return [
                start_episode(self._delay, source, "labels", "delay", "up", onset, end, evidence)
            ]
        if not seen.over and not self._delay.is_worse(evidence.severity):
            return []
        phase: Phase = "recovered" if seen.over else "ongoing"
        return [continue_episode(self._delay, phase, end, evidence)]

    def end(
        self, phase: Phase, at: EventPosition, alert: DriftAlert | None = None
    ) -> list[Finding]:
        """End open episodes.

        An outage that a person resolved is usual from then on; a delay is learned from the start.
        """
        findings: list[Finding] = []
        if alert is None or alert.channel == "outage":
            findings += end_episode(self._outage, self.series, phase, at)
            if findings and phase == "resolved":
                self._gaps.learn(self._bucket, self._gap)
        if alert is None or alert.channel == "delay":
            ended = end_episode(self._delay, self.series, phase, at)
            findings += ended
            if ended and phase == "resolved":
                self._delays = DelayHistory(self._spec)
        return findings

    def snapshot(self) -> list[Any]:
        """The state as plain data."""
        return [
            self._gaps,
            self._delays.snapshot(),
            self._age,
            self._gap,
            self._since_ms,
            self._last_outage,
            self._outage,
            self._delay,
            self._bucket,
        ]

    def restore(self, data: Sequence[Any]) -> None:
        """Restore from `snapshot`.  Raises ValueError where it does not fit."""
        gaps, delays, self._age, self._gap, self._since_ms, *more = data
        self._last_outage, outage, delay, self._bucket = more
        self._gaps = as_type(gaps, Extremes)
        self._delays.restore(delays)
        self._outage = as_type(outage, RuleEpisode)
        self._delay = as_type(delay, RuleEpisode)
