"""The plan of a drill, which copies live events, and the measured delay of its alert.  Pure."""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple

import msgspec

from driftline.offline.explain.detection_delay import ExpectedDelay
from driftline.offline.injection import Injection, inject, parse
from producer.events import InferenceEvent
from stream_monitor.contracts import DriftAlert


def injection_of(text: str, after: int) -> Injection:
    """The change to inject, from copy number ``after`` on.

    Raises:
        ValueError: the text has another form, or names rows.

    >>> injection_of("mean:temp:+1sd", 200).first
    200
    """
    if "@" in text:
        raise ValueError(f"{text!r}: a drill has no rows; --after sets the start of the change")
    return parse(f"{text}@{after}")


class DrillPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The synthetic model of a drill, and the change to inject.

    ``sd`` is the standard deviation of the injected feature in its reference.
    """

    model: str
    version: str
    synthetic_model: str
    injection: Injection
    sd: float

    @property
    def unchanged_events(self) -> int:
        """The number of copies before the change."""
        return self.injection.first


class SyntheticEventCopier:
    """Copies each event of the live version once, in the order of arrival.

    The id of a copy contains its number, so it cannot equal the id of a live event.
    """

    def __init__(self, plan: DrillPlan) -> None:
        self.plan = plan
        self.n_copies = 0
        self._seen: set[str] = set()

    def copy(self, event: InferenceEvent) -> InferenceEvent | None:
        """The copy of an event; ``None`` for a repeat, and where the version did not serve."""
        plan = self.plan
        is_served = (event.model, event.version) == (plan.model, plan.version) and not event.shadow
        if not is_served or event.id in self._seen:
            return None
        self._seen.add(event.id)
        number = self.n_copies
        self.n_copies += 1
        column = plan.injection.column
        features = event.features
        if column in features:
            value = inject(plan.injection, features[column], number, plan.sd)
            features = {**features, column: value}
        return msgspec.structs.replace(
            event,
            id=f"{plan.synthetic_model}/{number}",
            model=plan.synthetic_model,
            features=features,
        )


class FirstAlert(NamedTuple):
    """The first alert of an episode.

    ``signal`` is the number of the copy that raised the suspicion, ``decided`` that of the copy
    that confirmed it.  ``decided_s`` and ``received_s`` are the seconds of one clock at which that
    copy was acknowledged and the alert was received.
    """

    alert: DriftAlert
    signal: int
    decided: int
    decided_s: float
    received_s: float


class DrillReport(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a drill; a value that was not measured is null.

    Events are counted from the change on.  ``alert_s`` is the time from the first changed event to
    the alert, and ``latency_s`` the part of it after the event that confirmed the drift.
    ``false_alerts`` came before the change; ``other_alerts`` came after it, about other features.
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
    """Records the positions of the copies and the alerts of a drill."""

    def __init__(self, plan: DrillPlan, expected: ExpectedDelay | None) -> None:
        self.plan, self.expected = plan, expected
        self.n_arrived = 0
        self.ends: dict[int, int] = {}
        self._offsets: dict[int, list[int]] = {}
        self._arrivals: dict[int, list[tuple[int, float]]] = {}
        self._changed_s: float | None = None
        self._first_alerts: dict[str, FirstAlert] = {}

    def on_delivered(self, number: int, partition: int, offset: int, at_s: float) -> None:
        """Record that Kafka acknowledged a copy; within a partition, in the order of offsets."""
        self._offsets.setdefault(partition, []).append(offset)
        self._arrivals.setdefault(partition, []).append((number, at_s))
        self.ends[partition] = offset + 1
        self.n_arrived += 1
        if number >= self.plan.unchanged_events and self._changed_s is None:
            self._changed_s = at_s

    def on_alert(self, alert: DriftAlert, at_s: float) -> None:
        """Record an alert; alerts of other models, repeats and later phases are ignored."""
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
        """The last copy at or before a position: its number, and when it was acknowledged."""
        index = bisect_right(self._offsets.get(partition, []), offset)
        return self._arrivals[partition][index - 1] if index else (-1, 0.0)

    @property
    def first_alert(self) -> FirstAlert | None:
        """The first alert of the injected change."""
        after = [
            first_alert
            for first_alert in self._first_alerts.values()
            if first_alert.decided >= self.plan.unchanged_events and self._is_expected(first_alert)
        ]
        return min(after, key=lambda first_alert: first_alert.decided, default=None)

    def _is_expected(self, first_alert: FirstAlert) -> bool:
        return first_alert.alert.feature == self.plan.injection.column

    def report(self) -> DrillReport:
        """The result so far."""
        plan, first_alert, after = self.plan, self.first_alert, self.plan.unchanged_events
        before = [one for one in self._first_alerts.values() if one.decided < after]
        others = [
            one.alert.explanation
            for one in self._first_alerts.values()
            if one.decided >= after and not self._is_expected(one)
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
            already_drifting=any(map(self._is_expected, before)),
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
