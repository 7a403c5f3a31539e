"""The check of a model's event volume on the append clock: silence, fewer events, more events.

::

    closed bucket ──► no event ──► consecutive empty buckets beyond chance and history ──► silence
                  └─► count ─────► windows (`volume_windows`) and the seasonal rate ─────► volume

During a silence the volume is neither evaluated nor learned.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from stream_monitor.checks.check import Check
from stream_monitor.checks.leading_version import LeadingVersion
from stream_monitor.checks.seasonal_rate import (
    ExpectedCount,
    SeasonalRate,
    SeasonalRateState,
    from_fixed_point,
)
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
from stream_monitor.checks.volume_windows import WINDOWS, VolumeChange, VolumeState, VolumeWindows
from stream_monitor.contracts import DriftAlert, Phase
from stream_monitor.episodes.finding import EventPosition, Finding
from stream_monitor.episodes.rule_episode import RuleEpisode
from stream_monitor.episodes.traffic_messages import (
    silence_ended_message,
    silence_message,
    volume_message,
    volume_recovered_message,
)
from stream_monitor.state_parts import as_type
from stream_monitor.statistics.counts import Extremes, neg_log_probability

_SPAN_MS: Final = 14 * DAY_MS
_LEAST_ARL0_MS: Final = 180 * DAY_MS  # for any false-alarm budget per events
_LEAST_RUN: Final = 2  # empty buckets
_BACK: Final = 3  # events end a silence
_MINUTE_MS: Final = 60_000


class EventVolumeState(msgspec.Struct, array_like=True):
    """The state of an `EventVolumeCheck`.

    ``gaps`` are the longest runs of empty buckets, in expected events.  ``run`` is the present one,
    of ``run_buckets``.  ``back`` counts the events since a silence, from ``back_ms``; the silence
    began at ``since_ms``, both of the append clock.  ``complete_since`` is the number of buckets
    when the whole period was known, ``scale`` the window length of an open change of volume.
    """

    gaps: Extremes
    silence: RuleEpisode = msgspec.field(default_factory=RuleEpisode)
    volume: RuleEpisode = msgspec.field(default_factory=RuleEpisode)
    leading: LeadingVersion = msgspec.field(default_factory=LeadingVersion)
    run: int = 0
    run_buckets: int = 0
    back: int = 0
    since_ms: int = 0
    back_ms: int = 0
    complete_since: int = -1
    scale: int = 0
    bucket: int = 0
    learned_rate: SeasonalRateState | None = None
    learned_volume: VolumeState | None = None


class EventVolumeCheck(Check[TrafficBucket]):
    """The check of the events of one model: silence, and their number compared with the usual."""

    series = TRAFFIC["volume"]
    state: EventVolumeState

    def __init__(self, spec: TrafficSpec) -> None:
        self._spec = spec
        self._rate, self._volume = SeasonalRate(spec), VolumeWindows(spec)
        self.state = EventVolumeState(Extremes(_SPAN_MS // spec.bucket_ms))

    def _restart_volume(self) -> None:
        """Learn the seasonal rate and the volume from the start."""
        self._rate, self._volume = SeasonalRate(self._spec), VolumeWindows(self._spec)
        self.state.complete_since, self.state.scale = -1, 0

    @property
    def leading(self) -> LeadingVersion:
        """The leading version of the model."""
        return self.state.leading

    @property
    def events_per_week(self) -> float | None:
        """The mean number of events per week; ``None`` during the baseline, or without events."""
        per_bucket = self._rate.per_bucket()
        if self._rate.buckets < self._spec.baseline_buckets or per_bucket <= 0:
            return None
        return per_bucket * 7 * DAY_MS / self._spec.bucket_ms

    @property
    def is_silent(self) -> bool:
        """Whether an episode of silence is open."""
        return self.state.silence.latest is not None

    def open(self) -> list[Finding]:
        """The latest findings of the open episodes."""
        latest = self.state.silence.latest, self.state.volume.latest
        return [finding for finding in latest if finding is not None]

    def level(self) -> int | None:
        """0: no change; 2: an open episode."""
        return 2 if self.open() else 0

    def observe(self, batch: TrafficBucket) -> list[Finding]:
        """Apply a closed bucket; returns the phases of episodes that it decided."""
        bucket, self.state.bucket = batch, batch.number
        if not bucket.seen:
            self.state.run, self.state.run_buckets = (
                (0, 0) if bucket.n_events else (self.state.run, self.state.run_buckets)
            )
            self._rate.enter(bucket.number)
            return []
        expected = self._rate.expected(bucket.number)
        was_silent = self.is_silent
        findings = self._observe_silence(bucket, expected)
        if was_silent or self.is_silent:
            self._rate.learn_silence(bucket.number)
            return findings
        return findings + self._observe_volume(bucket, expected)

    def _observe_silence(self, bucket: TrafficBucket, expected: ExpectedCount) -> list[Finding]:
        """Compare the events expected in consecutive empty buckets with chance and history."""
        missing_one = self.state.leading.close(bucket.by_version, expected)
        if bucket.n_events and missing_one is None:
            return self._events_came(bucket)
        self.state.run += round(expected.low * (1.0 if missing_one is None else missing_one.share))
        self.state.run_buckets += 1
        missing = from_fixed_point(self.state.run)
        limit = self.state.gaps.limit(neg_log_probability(bucket.arl0))
        if missing <= limit or self.state.run_buckets < _LEAST_RUN:
            return []
        self.state.back = 0
        young = self._rate.buckets - self.state.run_buckets < self._spec.baseline_buckets
        if self.is_silent or young:
            return []
        source, version = bucket.source, None
        last, last_clock_ms = bucket.last_event, bucket.event_clock_ms
        if missing_one is not None:
            version = missing_one.version
            source = source._replace(version=version)
            if version in bucket.lasts:
                offset, time_ms, last_clock_ms = bucket.lasts[version]
                last = EventPosition(offset, time_ms)
        silent_ms = bucket.clock_ms - last_clock_ms
        usual = from_fixed_point(expected.middle) / self._spec.bucket_ms
        evidence = TrafficEvidence(
            silence_message(silent_ms, usual, version),
            "high",
            0.5 / (missing + 0.5),
            missing,
            0,
            usual * _MINUTE_MS,
            0.0,
        )
        onset, end = last, bucket.end
        self.state.since_ms = last_clock_ms
        self._volume.clear_recent()
        self._rate.drop_cell()
        return [
            start_episode(
                self.state.silence, source, "volume", "silence", "down", onset, end, evidence
            )
        ]

    def _events_came(self, bucket: TrafficBucket) -> list[Finding]:
        run, self.state.run, self.state.run_buckets = from_fixed_point(self.state.run), 0, 0
        if not self.is_silent:
            self.state.gaps.learn(bucket.number, run, bucket.n_events)
            return []
        if not self.state.back:
            self.state.back_ms = bucket.number * self._spec.bucket_ms
        self.state.back += bucket.n_events
        if self.state.back < _BACK:
            return []
        message = silence_ended_message(max(0, self.state.back_ms - self.state.since_ms))
        evidence = TrafficEvidence(message, "high", 1.0, 0.0, self.state.back)
        end = bucket.end
        return [continue_episode(self.state.silence, "recovered", end, evidence)]

    def _observe_volume(self, bucket: TrafficBucket, expected: ExpectedCount) -> list[Finding]:
        """Compare the number of events with the usual one, which is learned while it holds."""
        rate = self._rate
        known = rate.complete
        has_ended = False
        if known:
            has_ended = self._volume.take(bucket.number, bucket.n_events, expected, bucket.at)
        if (opened := self.state.volume.latest) is not None:
            rate.enter(bucket.number)
            return self._follow(opened, bucket)
        rate.learn(bucket.number, bucket.n_events)
        if not known:
            return []
        if self.state.complete_since < 0:
            self.state.complete_since = rate.buckets
        reportable = rate.buckets - self.state.complete_since >= self._spec.baseline_buckets
        reportable = reportable and 2 * self.state.run_buckets < WINDOWS[0]  # else it is silence
        change = self._volume.evaluate(
            bucket.number, self._chances(bucket.arl0), day=has_ended, reportable=reportable
        )
        if change is None:
            return []
        onset = EventPosition(*change.onset)
        self.state.scale = change.scale
        rate.drop_cell()
        return [
            start_episode(
                self.state.volume,
                bucket.source,
                "volume",
                "volume",
                change.direction,
                onset,
                bucket.end,
                self._evidence(change, onset.time_ms),
            )
        ]

    def _follow(self, opened: Finding, bucket: TrafficBucket) -> list[Finding]:
        """Decide whether an open change of volume has ended, or is worse."""
        now, has_ended = self._volume.now(self.state.scale, down=opened.direction == "down")
        phase: Phase = "recovered" if has_ended else "ongoing"
        evidence = self._evidence(now, opened.onset.time_ms, phase)
        if not has_ended and not self.state.volume.is_worse(evidence.severity):
            return []
        end = bucket.end
        return [continue_episode(self.state.volume, phase, end, evidence)]

    def _evidence(
        self, change: VolumeChange, onset_ms: int, phase: Phase = "started"
    ) -> TrafficEvidence:
        window_ms = change.n_buckets * self._spec.bucket_ms
        usual, now = change.expected / window_ms, change.n_events / window_ms
        if phase == "recovered":
            message = volume_recovered_message(usual, now)
        else:
            message = volume_message(usual, now, onset_ms, worse=phase == "ongoing")
        return TrafficEvidence(
            message,
            severity_of(change.ratio),
            change.ratio,
            change.deviance,
            change.n_events,
            usual * _MINUTE_MS,
            now * _MINUTE_MS,
        )

    def _chances(self, arl0: float) -> list[float]:
        """The negative log probability of a false alarm, for each length of window."""
        buckets = max(
            arl0 / max(self._rate.per_bucket(), 1e-9), _LEAST_ARL0_MS / self._spec.bucket_ms
        )
        lengths = (*WINDOWS, 24 * self._spec.cell_buckets)
        return [neg_log_probability(len(lengths) * buckets / length) for length in lengths]

    def end(
        self, phase: Phase, at: EventPosition, alert: DriftAlert | None = None
    ) -> list[Finding]:
        """End open episodes.

        A silence that a person resolved is usual from then on; after a change of volume the usual
        rate is learned from the start.
        """
        findings: list[Finding] = []
        if alert is None or alert.channel == "silence":
            findings += end_episode(self.state.silence, self.series, phase, at)
            if findings and phase == "resolved":
                self.state.gaps.learn(self.state.bucket, from_fixed_point(self.state.run))
        if alert is None or alert.channel == "volume":
            ended = end_episode(self.state.volume, self.series, phase, at)
            findings += ended
            if ended and phase == "resolved":
                self._restart_volume()
        return findings

    def snapshot(self) -> EventVolumeState:
        """The state, with what was learned."""
        return msgspec.structs.replace(
            self.state, learned_rate=self._rate.state, learned_volume=self._volume.state
        )

    def restore(self, data: Any) -> None:
        """Continue from `snapshot`.  Raises ValueError where the data do not fit."""
        self.state = as_type(data, EventVolumeState)
        self._rate = SeasonalRate(self._spec, self.state.learned_rate)
        self._volume = VolumeWindows(self._spec, self.state.learned_volume)
