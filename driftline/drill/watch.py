"""What a drill sees, and what it makes of it: copies arrive, alerts are heard.  Pure."""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple

import msgspec

from driftline.drill.plan import Plan
from driftline.explain.injected import Expected
from stream_monitor.contracts import DriftAlert


class Alarm(NamedTuple):
    """The first alert of an episode, by the numbers of the copies; times are those of one clock.

    ``signal`` is the copy that raised the suspicion, ``decided`` the one that confirmed it, which
    was in the log at ``decided_s``.
    """

    alert: DriftAlert
    signal: int
    decided: int
    decided_s: float
    heard_s: float


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """How a drill ended.  Null is what was not seen; events count from the change on.

    ``alert_s`` is the time from the first changed event in the log to the alert, and ``latency_s``
    the part of it after the event that decided.  ``false_alerts`` came before the change,
    ``other_alerts`` after it and of something else.
    """

    model: str
    version: str
    shadow: str
    feature: str
    unchanged_events: int
    changed_events: int
    found: bool
    signal_events: int | None = None
    alert_events: int | None = None
    alert_s: float | None = None
    latency_s: float | None = None
    expected_low_events: int | None = None
    expected_high_events: int | None = None
    false_alerts: list[str] = []
    other_alerts: list[str] = []
    already_drifting: bool = False
    detector: str | None = None
    severity: str | None = None
    explanation: str | None = None


class Watch:
    """Follows the copies of a plan into the log, and the alerts that come of them."""

    def __init__(self, plan: Plan, expected: Expected | None) -> None:
        self.plan, self.expected = plan, expected
        self.n_arrived = 0
        self.ends: dict[int, int] = {}
        self._offsets: dict[int, list[int]] = {}
        self._arrivals: dict[int, list[tuple[int, float]]] = {}
        self._changed_s: float | None = None
        self._alarms: dict[str, Alarm] = {}

    def arrived(self, number: int, partition: int, offset: int, at_s: float) -> None:
        """A copy was acknowledged; those of a partition come in the order of their offsets."""
        self._offsets.setdefault(partition, []).append(offset)
        self._arrivals.setdefault(partition, []).append((number, at_s))
        self.ends[partition] = offset + 1
        self.n_arrived += 1
        if number >= self.plan.after and self._changed_s is None:
            self._changed_s = at_s

    def heard(self, alert: DriftAlert, at_s: float) -> None:
        """An alert came; of other models', of repeats and of later phases nothing is made."""
        known = alert.episode_id in self._alarms
        if alert.model != self.plan.shadow or known or alert.phase not in ("started", "ongoing"):
            return
        signal, _ = self._copy_at(alert.partition, alert.detected_offset)
        decided, decided_s = self._copy_at(alert.partition, alert.decided_offset)
        self._alarms[alert.episode_id] = Alarm(alert, signal, decided, decided_s, at_s)

    def _copy_at(self, partition: int, offset: int) -> tuple[int, float]:
        """The last copy at or before a position: its number, and when it arrived."""
        place = bisect_right(self._offsets.get(partition, []), offset)
        return self._arrivals[partition][place - 1] if place else (-1, 0.0)

    @property
    def alarm(self) -> Alarm | None:
        """The alert that the drill waits for."""
        after = [
            alarm
            for alarm in self._alarms.values()
            if alarm.decided >= self.plan.after and self._is_meant(alarm)
        ]
        return min(after, key=lambda alarm: alarm.decided, default=None)

    def _is_meant(self, alarm: Alarm) -> bool:
        return alarm.alert.feature == self.plan.injection.column

    def report(self) -> Report:
        """What was seen so far."""
        plan, alarm, after = self.plan, self.alarm, self.plan.after
        before = [one for one in self._alarms.values() if one.decided < after]
        others = [
            one.alert.explanation
            for one in self._alarms.values()
            if one.decided >= after and not self._is_meant(one)
        ]
        report = Report(
            model=plan.model,
            version=plan.version,
            shadow=plan.shadow,
            feature=plan.injection.column,
            unchanged_events=min(self.n_arrived, after),
            changed_events=max(0, self.n_arrived - after),
            found=alarm is not None,
            expected_low_events=None if self.expected is None else self.expected.low,
            expected_high_events=None if self.expected is None else self.expected.high,
            false_alerts=[one.alert.explanation for one in before],
            other_alerts=others,
            already_drifting=any(map(self._is_meant, before)),
        )
        if alarm is None:
            return report
        return msgspec.structs.replace(
            report,
            signal_events=max(0, alarm.signal - after + 1),
            alert_events=alarm.decided - after + 1,
            alert_s=round(alarm.heard_s - (self._changed_s or alarm.heard_s), 3),
            latency_s=round(alarm.heard_s - alarm.decided_s, 3),
            detector=alarm.alert.detector,
            severity=alarm.alert.severity,
            explanation=alarm.alert.explanation,
        )
