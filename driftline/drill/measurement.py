"""What a drill sees, and what it makes of it: copies arrive, alerts are heard.  Pure."""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple

import msgspec

from driftline.drill.plan import DrillPlan
from driftline.offline.explain.expected_delay import ExpectedDelay
from stream_monitor.contracts import DriftAlert


class FirstAlert(NamedTuple):
    """The first alert of an episode, by the numbers of the copies; times are those of one clock.

    ``signal`` is the copy that raised the suspicion, ``decided`` the one that confirmed it, which
    was in the log at ``decided_s``.
    """

    alert: DriftAlert
    signal: int
    decided: int
    decided_s: float
    received_s: float


class DrillReport(msgspec.Struct, frozen=True, kw_only=True):
    """How a drill ended.  Null is what was not seen; events count from the change on.

    ``alert_s`` is the time from the first changed event in the log to the alert, and ``latency_s``
    the part of it after the event that decided.  ``false_alerts`` came before the change,
    ``other_alerts`` after it and of something else.
    """

    model: str
    version: str
    synthetic_model: str
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


class DrillMeasurement:
    """Follows the copies of a plan into the log, and the alerts that come of them."""

    def __init__(self, plan: DrillPlan, expected: ExpectedDelay | None) -> None:
        self.plan, self.expected = plan, expected
        self.n_arrived = 0
        self.ends: dict[int, int] = {}
        self._offsets: dict[int, list[int]] = {}
        self._arrivals: dict[int, list[tuple[int, float]]] = {}
        self._changed_s: float | None = None
        self._first_alerts: dict[str, FirstAlert] = {}

    def on_delivered(self, number: int, partition: int, offset: int, at_s: float) -> None:
        """A copy was acknowledged; those of a partition come in the order of their offsets."""
        self._offsets.setdefault(partition, []).append(offset)
        self._arrivals.setdefault(partition, []).append((number, at_s))
        self.ends[partition] = offset + 1
        self.n_arrived += 1
        if number >= self.plan.after and self._changed_s is None:
            self._changed_s = at_s

    def on_alert(self, alert: DriftAlert, at_s: float) -> None:
        """An alert came; of other models', of repeats and of later phases nothing is made."""
        known = alert.episode_id in self._first_alerts
        if (
            alert.model != self.plan.synthetic_model
            or known
            or alert.phase not in ("started", "ongoing")
        ):
            return
        signal, _ = self._copy_at(alert.partition, alert.detected_offset)
        decided, decided_s = self._copy_at(alert.partition, alert.decided_offset)
        self._first_alerts[alert.episode_id] = FirstAlert(alert, signal, decided, decided_s, at_s)

    def _copy_at(self, partition: int, offset: int) -> tuple[int, float]:
        """The last copy at or before a position: its number, and when it arrived."""
        place = bisect_right(self._offsets.get(partition, []), offset)
        return self._arrivals[partition][place - 1] if place else (-1, 0.0)

    @property
    def first_alert(self) -> FirstAlert | None:
        """The alert that the drill waits for."""
        after = [
            first_alert
            for first_alert in self._first_alerts.values()
            if first_alert.decided >= self.plan.after and self._is_meant(first_alert)
        ]
        return min(after, key=lambda first_alert: first_alert.decided, default=None)

    def _is_meant(self, first_alert: FirstAlert) -> bool:
        return first_alert.alert.feature == self.plan.injection.column

    def report(self) -> DrillReport:
        """What was seen so far."""
        plan, first_alert, after = self.plan, self.first_alert, self.plan.after
        before = [one for one in self._first_alerts.values() if one.decided < after]
        others = [
            one.alert.explanation
            for one in self._first_alerts.values()
            if one.decided >= after and not self._is_meant(one)
        ]
        report = DrillReport(
            model=plan.model,
            version=plan.version,
            synthetic_model=plan.synthetic_model,
            feature=plan.injection.column,
            unchanged_events=min(self.n_arrived, after),
            changed_events=max(0, self.n_arrived - after),
            found=first_alert is not None,
            expected_low_events=None if self.expected is None else self.expected.low,
            expected_high_events=None if self.expected is None else self.expected.high,
            false_alerts=[one.alert.explanation for one in before],
            other_alerts=others,
            already_drifting=any(map(self._is_meant, before)),
        )
        if first_alert is None:
            return report
        return msgspec.structs.replace(
            report,
            signal_events=max(0, first_alert.signal - after + 1),
            alert_events=first_alert.decided - after + 1,
            alert_s=round(first_alert.received_s - (self._changed_s or first_alert.received_s), 3),
            latency_s=round(first_alert.received_s - first_alert.decided_s, 3),
            detector=first_alert.alert.detector,
            severity=first_alert.alert.severity,
            explanation=first_alert.alert.explanation,
        )
