"""The events of one model on the append clock: none for too long, too few, too many.

::

    slot over ──► no event ──► run of empty slots beyond chance and beyond what was seen ──► silence
              └─► count ─────► windows (`volume_windows`) against the usual rate ──────────► volume

While there is silence, nothing is said of the volume, and nothing is learnt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from stream_monitor.checks.leading_version import LeadingVersion
from stream_monitor.checks.seasonal_rate import ExpectedCount, SeasonalRate, from_fixed_point
from stream_monitor.checks.traffic_bucket import TrafficBucket
from stream_monitor.checks.traffic_spec import DAY_MS, TrafficSpec
from stream_monitor.checks.volume_windows import WINDOWS, VolumeChange, VolumeWindows
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


class EventVolumeCheck:
    """The usual rate, the silence and the volume of one model."""

    def __init__(self, spec: TrafficSpec) -> None:
        self._spec = spec
        self._begin()
        self._gaps = Extremes(_SPAN_MS // spec.bucket_ms)
        self._run, self._run_buckets, self._back = 0, 0, 0
        self._since_ms, self._back_ms = 0, 0
        self.silence: DriftAlert | None = None
        self.leading = LeadingVersion()

    def _begin(self) -> None:
        self._rate, self._volume = SeasonalRate(self._spec), VolumeWindows(self._spec)
        self._complete_since = -1  # slots, when the whole period was known
        self._changed: DriftAlert | None = None
        self._scale = 0

    @property
    def events_per_week(self) -> float | None:
        """The mean of what is usual; ``None`` where it is too early to say, or nothing comes."""
        per_bucket = self._rate.per_bucket()
        if self._rate.buckets < self._spec.baseline_buckets or per_bucket <= 0:
            return None
        return per_bucket * 7 * DAY_MS / self._spec.bucket_ms

    def open(self) -> list[DriftAlert]:
        """The latest alerts of the open episodes."""
        return [alert for alert in (self.silence, self._changed) if alert is not None]

    def close(self, bucket: TrafficBucket, source: AlertSource) -> list[DriftAlert]:
        """A slot is over."""
        if not bucket.seen:
            self._run, self._run_buckets = (
                (0, 0) if bucket.n_events else (self._run, self._run_buckets)
            )
            self._rate.enter(bucket.number)
            return []
        expected = self._rate.expected(bucket.number)
        was_silent = self.silence is not None
        alerts = self._silence(bucket, expected, source)
        if was_silent or self.silence is not None:
            self._rate.learn_silence(bucket.number)
            return alerts
        return alerts + self._level(bucket, expected, source)

    def _silence(
        self, bucket: TrafficBucket, expected: ExpectedCount, source: AlertSource
    ) -> list[DriftAlert]:
        """Empty slots in a row: their expected events, against chance and what was seen."""
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
        if self.silence is not None or young:
            return []
        version, last, last_clock_ms = None, bucket.last_event, bucket.event_clock_ms
        if missing_one is not None:
            version = missing_one.version
            source = source._replace(version=version)
            *at, last_clock_ms = bucket.lasts.get(version, (*last, last_clock_ms))
            last = at[0], at[1]
        silent_ms = bucket.clock_ms - last_clock_ms
        usual = from_fixed_point(expected.middle) / self._spec.bucket_ms
        finding = TrafficFinding(
            silence_message(silent_ms, usual, version),
            "high",
            0.5 / (missing + 0.5),
            missing,
            0,
            usual * _MINUTE_MS,
            0.0,
        )
        onset, end = EventPosition(*last), EventPosition(*bucket.end)
        self.silence = started_alert(source, "volume", "silence", "down", onset, end, finding)
        self._since_ms = last_clock_ms
        self._volume.clear_recent()
        self._rate.drop_cell()
        return [self.silence]

    def _events_came(self, bucket: TrafficBucket) -> list[DriftAlert]:
        run, self._run, self._run_buckets = from_fixed_point(self._run), 0, 0
        if self.silence is None:
            self._gaps.learn(bucket.number, run, bucket.n_events)
            return []
        if not self._back:
            self._back_ms = bucket.number * self._spec.bucket_ms
        self._back += bucket.n_events
        if self._back < _BACK:
            return []
        told, self.silence = self.silence, None
        message = silence_ended_message(max(0, self._back_ms - self._since_ms))
        finding = TrafficFinding(message, "high", 1.0, 0.0, self._back)
        return [later_alert(told, "recovered", EventPosition(*bucket.end), finding)]

    def _level(
        self, bucket: TrafficBucket, expected: ExpectedCount, source: AlertSource
    ) -> list[DriftAlert]:
        """As many events as usual?  What is usual is learnt, as long as it is."""
        rate = self._rate
        known = rate.complete
        over = False
        if known:
            over = self._volume.take(bucket.number, bucket.n_events, expected, bucket.at)
        if self._changed is not None:
            rate.enter(bucket.number)
            return self._follow(self._changed, bucket)
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
        finding = self._finding(change, onset.time_ms)
        self._changed = started_alert(
            source, "volume", "volume", change.direction, onset, EventPosition(*bucket.end), finding
        )
        self._scale = change.scale
        rate.drop_cell()
        return [self._changed]

    def _follow(self, told: DriftAlert, bucket: TrafficBucket) -> list[DriftAlert]:
        """An open change of volume: is it over, or worse?"""
        now, over = self._volume.now(self._scale, down=told.direction == "down")
        phase: Phase = "recovered" if over else "ongoing"
        finding = self._finding(now, told.onset_ms, phase)
        if not over and not worse(finding, told):
            return []
        alert = later_alert(told, phase, EventPosition(*bucket.end), finding)
        self._changed = None if over else alert
        return [alert]

    def _finding(
        self, change: VolumeChange, onset_ms: int, phase: Phase = "started"
    ) -> TrafficFinding:
        window_ms = change.n_buckets * self._spec.bucket_ms
        usual, now = change.expected / window_ms, change.n_events / window_ms
        if phase == "recovered":
            message = volume_recovered_message(usual, now)
        else:
            message = volume_message(usual, now, onset_ms, worse=phase == "ongoing")
        return TrafficFinding(
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

    def supersede(self, at: EventPosition) -> list[DriftAlert]:
        """The model is forgotten: what is open ends."""
        alerts = [ended_alert(alert, "superseded", at) for alert in self.open()]
        self.silence = self._changed = None
        return alerts

    def resolve(self, channel: str, bucket: int, at: EventPosition) -> list[DriftAlert]:
        """A person ends an episode: such a silence is usual now, or the volume is learnt anew."""
        told = self.silence if channel == "silence" else self._changed
        if told is None:
            return []
        if channel == "silence":
            self.silence = None
            self._gaps.learn(bucket, from_fixed_point(self._run))
        else:
            self._begin()
        return [ended_alert(told, "resolved", at)]

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
            *(msgspec.to_builtins(alert) for alert in (self.silence, self._changed)),
            self.leading.snapshot(),
        ]

    def restore(self, data: Sequence[Any]) -> None:
        """Restore from `snapshot`.  Raises ValueError where it does not fit."""
        rate, volume_, since, scale, gaps, *more = data
        run, (silent, changed), leading = more[:5], more[5:7], more[7:]
        for of_versions in leading:  # stored before it was known which one leads
            self.leading.restore(of_versions)
        self._rate.restore(rate)
        self._volume.restore(volume_)
        self._complete_since, self._scale = since, scale
        self._gaps = as_type(gaps, Extremes)
        self._run, self._run_buckets, self._back, self._since_ms, self._back_ms = run
        self.silence = msgspec.convert(silent, DriftAlert | None)
        self._changed = msgspec.convert(changed, DriftAlert | None)
