"""The check of a model's labels on the append clock: outages, and labels later than usual.

A gap is compared with the gaps that are usual for these labels, whether they come one by one or
once a night.  The label delay is averaged over 24 hours of labels, on a logarithmic scale.
"""

from __future__ import annotations

import math
from typing import Any, Final

import msgspec

from stream_monitor.checks.check import Check
from stream_monitor.checks.delay_history import DelayHistory, DelayState
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
_FACTOR: Final = 2.0  # times the longest gap, because label jobs may be late
_HOUR_MS: Final = 3_600_000


class LabelDelayState(msgspec.Struct, array_like=True):
    """The state of a `LabelDelayCheck`.

    ``age`` is the number of buckets since the first label, -1 before it.  ``gap`` is the present
    number of consecutive buckets without labels; ``last_gap`` that of the last outage, which began
    at ``since_ms`` of the append clock.
    """

    gaps: Extremes
    outage: RuleEpisode = msgspec.field(default_factory=RuleEpisode)
    delay: RuleEpisode = msgspec.field(default_factory=RuleEpisode)
    age: int = -1
    gap: int = 0
    since_ms: int = 0
    last_gap: int = 0
    bucket: int = 0
    learned_delays: DelayState | None = None


class LabelDelayCheck(Check[TrafficBucket]):
    """The check of the labels of one model: outages, and their delay compared with the usual."""

    series = TRAFFIC["labels"]
    state: LabelDelayState

    def __init__(self, spec: TrafficSpec) -> None:
        self._spec = spec
        self._delays = DelayHistory(spec)
        self.state = LabelDelayState(Extremes(_SPAN_MS // spec.bucket_ms))

    def open(self) -> list[Finding]:
        """The latest findings of the open episodes."""
        latest = self.state.outage.latest, self.state.delay.latest
        return [finding for finding in latest if finding is not None]

    def level(self) -> int | None:
        """0: no change; 2: an open episode."""
        return 2 if self.open() else 0

    def observe(self, batch: TrafficBucket) -> list[Finding]:
        """Apply a closed bucket; returns the phases of episodes that it decided."""
        bucket, self.state.bucket = batch, batch.number
        if self.state.age < 0 and not bucket.n_labels:
            return []
        findings = []
        if bucket.n_labels:
            findings = self._labels_came(bucket)
        elif bucket.seen and not bucket.is_silent:
            findings = self._none_came(bucket)
        self.state.age += bucket.seen or self.state.age < 0
        return findings + self._observe_delay(bucket)

    def _labels_came(self, bucket: TrafficBucket) -> list[Finding]:
        gap, self.state.gap = self.state.gap, 0
        opened = self.state.outage.latest
        if opened is None:
            self.state.gaps.learn(bucket.number, gap, bucket.n_labels)
            return []
        if self.state.last_gap:  # a gap that occurs twice is usual
            self.state.gaps.learn(bucket.number, min(gap, self.state.last_gap))
        self.state.last_gap = gap
        message = label_outage_ended_message(
            max(0, bucket.number * self._spec.bucket_ms - self.state.since_ms)
        )
        evidence = TrafficEvidence(message, opened.severity, 1.0, 0.0, bucket.n_labels)
        return [continue_episode(self.state.outage, "recovered", bucket.end, evidence)]

    def _none_came(self, bucket: TrafficBucket) -> list[Finding]:
        self.state.gap += 1
        bucket_ms, chance = self._spec.bucket_ms, neg_log_probability(bucket.arl0)
        limit = max(self.state.gaps.limit(0.0, max(_FACTOR, self._scales(chance))), self._least())
        young = self.state.age * bucket_ms < self._spec.label_baseline_ms
        if young or self.state.outage.latest or not bucket.n_events or self.state.gap <= limit:
            return []
        silent_ms = bucket.clock_ms - bucket.label_clock_ms
        times = self.state.gap / max(self.state.gaps.largest, 1.0)
        message = label_outage_message(silent_ms, round(self.state.gaps.largest * bucket_ms))
        severity: Severity = "high" if times >= 5 else "medium"
        evidence = TrafficEvidence(message, severity, 1 / times, chance, 0)
        self.state.since_ms = bucket.label_clock_ms
        return [
            start_episode(
                self.state.outage,
                bucket.source,
                "labels",
                "outage",
                "down",
                bucket.last_label,
                bucket.end,
                evidence,
            )
        ]

    def _scales(self, chance: float) -> float:
        return chance / math.log(math.e + self.state.gaps.n)

    def _least(self) -> int:
        return self._spec.cell_buckets

    def _observe_delay(self, bucket: TrafficBucket) -> list[Finding]:
        """At the end of a cell, compare the last 24 cells with the usual delay."""
        buckets = max(
            bucket.arl0 / max(self._delays.per_bucket, 1e-9), 180 * DAY_MS / self._spec.bucket_ms
        )
        chance = neg_log_probability(buckets / (24 * self._spec.cell_buckets))
        opened = self.state.delay.latest
        seen = self._delays.take(bucket, chance, learn=opened is None)
        if seen is None:
            return []
        end, onset = bucket.end, EventPosition(*seen.onset)
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
                start_episode(
                    self.state.delay, source, "labels", "delay", "up", onset, end, evidence
                )
            ]
        if not seen.over and not self.state.delay.is_worse(evidence.severity):
            return []
        phase: Phase = "recovered" if seen.over else "ongoing"
        return [continue_episode(self.state.delay, phase, end, evidence)]

    def end(
        self, phase: Phase, at: EventPosition, alert: DriftAlert | None = None
    ) -> list[Finding]:
        """End open episodes.

        An outage that a person resolved is usual from then on; a delay is learned from the start.
        """
        findings: list[Finding] = []
        if alert is None or alert.channel == "outage":
            findings += end_episode(self.state.outage, self.series, phase, at)
            if findings and phase == "resolved":
                self.state.gaps.learn(self.state.bucket, self.state.gap)
        if alert is None or alert.channel == "delay":
            ended = end_episode(self.state.delay, self.series, phase, at)
            findings += ended
            if ended and phase == "resolved":
                self._delays = DelayHistory(self._spec)
        return findings

    def snapshot(self) -> LabelDelayState:
        """The state, with what was learned."""
        return msgspec.structs.replace(self.state, learned_delays=self._delays.state)

    def restore(self, data: Any) -> None:
        """Continue from `snapshot`.  Raises ValueError where the data do not fit."""
        self.state = as_type(data, LabelDelayState)
        self._delays = DelayHistory(self._spec, self.state.learned_delays)
