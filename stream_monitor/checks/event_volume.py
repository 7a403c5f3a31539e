"""The events of one model on the append clock: none for too long, too few, too many.

::

    slot over ──► no event ──► run of empty slots beyond chance and beyond what was seen ──► silence
              └─► count ─────► windows (`volume_windows`) against the usual rate ──────────► volume

While there is silence, nothing is said of the volume, and nothing is learnt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from stream_monitor.checks.check import Check
from stream_monitor.checks.leading_version import LeadingVersion
from stream_monitor.checks.seasonal_rate import ExpectedCount, SeasonalRate, from_fixed_point
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
from stream_monitor.checks.volume_windows import WINDOWS, VolumeChange, VolumeWindows
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
_LEAST_ARL0_MS: Final = 180 * DAY_MS  # however many events a budget counts in
_LEAST_RUN: Final = 2  # empty slots
_BACK: Final = 3  # events without another silence between them end one
_MINUTE_MS: Final = 60_000


class EventVolumeCheck(Check[TrafficBucket]):
    """The check of the events of one model: silence, and their number compared with the usual."""

    series = TRAFFIC["volume"]

    def __init__(self, spec: TrafficSpec) -> None:
        self._spec = spec
        self._begin()
        self._gaps = Extremes(_SPAN_MS // spec.bucket_ms)
        self._run, self._run_buckets, self._back = 0, 0, 0
        self._since_ms, self._back_ms = 0, 0
        self._silence = RuleEpisode()
        self._bucket = 0
        self.leading = LeadingVersion()

    def _begin(self) -> None:
        self._rate, self._volume = SeasonalRate(self._spec), VolumeWindows(self._spec)
        self._complete_since = -1  # slots, when the whole period was known
        self._volume_episode = RuleEpisode()
        self._scale = 0

    @property
    def events_per_week(self) -> float | None:
        """The mean of what is usual; ``None`` where it is too early to say, or nothing comes."""
        per_bucket = self._rate.per_bucket()
        if self._rate.buckets < self._spec.baseline_buckets or per_bucket <= 0:
            return None
        return per_bucket * 7 * DAY_MS / self._spec.bucket_ms

    @property
    def is_silent(self) -> bool:
        """Whether an episode of silence is open."""
        return self._silence.latest is not None

    def open(self) -> list[Finding]:
        """The latest findings of the open episodes."""
        latest = self._silence.latest, self._volume_episode.latest
        return [finding for finding in latest if finding is not None]

    def level(self) -> int | None:
        """0: no change; 2: an open episode."""
        return 2 if self.open() else 0

    def observe(self, batch: TrafficBucket) -> list[Finding]:
        """Apply a closed bucket; returns the phases of episodes that it decided."""
        bucket, self._bucket = batch, batch.number
        if not bucket.seen:
            self._run, self._run_buckets = (
                (0, 0) if bucket.n_events else (self._run, self._run_buckets)
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
        missing_one = self.leading.close(bucket.by_version, expected)
        if bucket.n_events and missing_one is None:
            return self._events_came(bucket)
        self._run += round(expected.low * (1.0 if missing_one is None else missing_one.share))
        self._run_buckets += 1
        missing = from_fixed_point(self._run)
        limit = self._gaps.limit(neg_log_probability(bucket.arl0))
        if missing <= limit or self._run_buckets < _LEAST_RUN:
            return []
        self._back = 0
        young = self._rate.buckets - self._run_buckets < self._spec.baseline_buckets
        if self.is_silent or young:
            return []
        source, version = bucket.source, None
        last, last_clock_ms = bucket.last_event, bucket.event_clock_ms
        if missing_one is not None:
            version = missing_one.version
            source = source._replace(version=version)
            *at, last_clock_ms = bucket.lasts.get(version, (*last, last_clock_ms))
            last = at[0], at[1]
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
        onset, end = EventPosition(*last), EventPosition(*bucket.end)
        self._since_ms = last_clock_ms
        self._volume.clear_recent()
        self._rate.drop_cell()
        return [
            start_episode(self._silence, source, "volume", "silence", "down", onset, end, evidence)
        ]

    def _events_came(self, bucket: TrafficBucket) -> list[Finding]:
        run, self._run, self._run_buckets = from_fixed_point(self._run), 0, 0
        if not self.is_silent:
            self._gaps.learn(bucket.number, run, bucket.n_events)
            return []
        if not self._back:
            self._back_ms = bucket.number * self._spec.bucket_ms
        self._back += bucket.n_events
        if self._back < _BACK:
            return []
        message = silence_ended_message(max(0, self._back_ms - self._since_ms))
        evidence = TrafficEvidence(message, "high", 1.0, 0.0, self._back)
        end = EventPosition(*bucket.end)
        return [continue_episode(self._silence, "recovered", end, evidence)]

    def _observe_volume(self, bucket: TrafficBucket, expected: ExpectedCount) -> list[Finding]:
        """Compare the number of events with the usual one, which is learned while it holds."""
        rate = self._rate
        known = rate.complete
        over = False
        if known:
            over = self._volume.take(bucket.number, bucket.n_events, expected, bucket.at)
        if (opened := self._volume_episode.latest) is not None:
            rate.enter(bucket.number)
            return self._follow(opened, bucket)
        rate.learn(bucket.number, bucket.n_events)
        if not known:
            return []
        if self._complete_since < 0:
            self._complete_since = rate.buckets
        judged = rate.buckets - self._complete_since >= self._spec.baseline_buckets
        judged = judged and 2 * self._run_buckets < WINDOWS[0]  # else it is silence
        change = self._volume.judge(
            bucket.number, self._chances(bucket.arl0), day=over, judged=judged
        )
        if change is None:
            return []
        onset = EventPosition(*change.onset)
        self._scale = change.scale
        rate.drop_cell()
        return [
            start_episode(
                self._volume_episode,
                bucket.source,
                "volume",
                "volume",
                change.direction,
                onset,
                EventPosition(*bucket.end),
                self._evidence(change, onset.time_ms),
            )
        ]

    def _follow(self, opened: Finding, bucket: TrafficBucket) -> list[Finding]:
        """Decide whether an open change of volume has ended, or is worse."""
        now, has_ended = self._volume.now(self._scale, down=opened.direction == "down")
        phase: Phase = "recovered" if has_ended else "ongoing"
        evidence = self._evidence(now, opened.onset.time_ms, phase)
        if not has_ended and not self._volume_episode.is_worse(evidence.severity):
            return []
        end = EventPosition(*bucket.end)
        return [continue_episode(self._volume_episode, phase, end, evidence)]

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
        """The share of each length of window: a third of the slots between two false alarms."""
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
            findings += end_episode(self._silence, self.series, phase, at)
            if findings and phase == "resolved":
                self._gaps.learn(self._bucket, from_fixed_point(self._run))
        if alert is None or alert.channel == "volume":
            ended = end_episode(self._volume_episode, self.series, phase, at)
            findings += ended
            if ended and phase == "resolved":
                self._begin()
        return findings

    def snapshot(self) -> list[Any]:
        """The state as plain data."""
        return [
            self._rate.snapshot(),
            self._volume.snapshot(),
            self._complete_since,
            self._scale,
            self._gaps,
            self._run,
            self._run_buckets,
            self._back,
            self._since_ms,
            self._back_ms,
            self._silence,
            self._volume_episode,
            self.leading.snapshot(),
            self._bucket,
        ]

    def restore(self, data: Sequence[Any]) -> None:
        """Restore from `snapshot`.  Raises ValueError where it does not fit."""
        rate, volume_, since, scale, gaps, *more = data
        run, (silence, volume_episode, leading, self._bucket) = more[:5], more[5:]
        self.leading.restore(leading)
        self._rate.restore(rate)
        self._volume.restore(volume_)
        self._complete_since, self._scale = since, scale
        self._gaps = as_type(gaps, Extremes)
        self._run, self._run_buckets, self._back, self._since_ms, self._back_ms = run
        self._silence = as_type(silence, RuleEpisode)
        self._volume_episode = as_type(volume_episode, RuleEpisode)
