"""The checks of one monitored signal: a feature, the prediction, or the error."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from stream_monitor.checks.check import Check, Observed
from stream_monitor.checks.monitored_signal import (
    CheckName,
    MonitoredSignal,
    SignalDecision,
    SignalState,
)
from stream_monitor.contracts import DriftAlert, Kind, Phase
from stream_monitor.episodes.error_rate_tracker import share_wrong
from stream_monitor.episodes.finding import AlertSource, EventPosition, Finding, finding_of
from stream_monitor.episodes.messages import (
    ErrorEstimate,
    SignalScope,
    direction_of,
    signal_message,
)
from stream_monitor.episodes.phase_decision import PhaseDecision
from stream_monitor.episodes.policy import loss_severity
from stream_monitor.episodes.recovery import RecoveryProgress
from stream_monitor.reference.expected_loss import mean_expected_loss
from stream_monitor.reference.feature_reference import FeatureReference
from stream_monitor.state_parts import as_type
from stream_monitor.statistics.fixed_point import FIXED_POINT

_KIND_OF: Final[dict[CheckName, Kind]] = {
    "data": "data",
    "validity": "quality",
    "unit": "quality",
    "constant": "quality",
    "range": "quality",
    "prediction": "prediction",
    "concept": "concept",
}
_CAUSE_OF: Final[dict[CheckName, str]] = {
    "unit": "unit_change",
    "constant": "constant",
    "range": "odd_values",
}


def check_of(alert: DriftAlert) -> CheckName:
    """Return the check of the signal that produced an alert."""
    if alert.kind == "quality":
        named = (check for check, cause in _CAUSE_OF.items() if cause == alert.cause)
        return next(named, "validity")
    return next(check for check, kind in _KIND_OF.items() if kind == alert.kind)


class SignalCheck(Check[Observed]):
    """The checks of one signal, in all traffic or in a segment."""

    def __init__(
        self, source: AlertSource, series: str, signal: MonitoredSignal, segment: str | None = None
    ) -> None:
        self.source, self.series, self.signal, self.segment = source, series, signal, segment

    def findings_of(self, decisions: Iterable[SignalDecision]) -> list[Finding]:
        """Convert phases that the signal decided into findings."""
        return [self._finding(check, decision) for check, decision in decisions]

    def _finding(self, check: CheckName, decision: PhaseDecision) -> Finding:
        signal = self.signal
        reference = signal.reference
        after = decision.value if check in ("range", "constant") else None
        if after is None and check not in ("validity", "range"):
            after = _mean_after(reference, decision)
        severity = decision.severity or "low"
        if check == "concept" and after is not None:
            severity = loss_severity(reference.mean or 0.0, after)
        estimate = None
        if check not in ("validity", "unit", "range"):
            estimate = _expected_error(signal, decision)
        is_weighed = check == "data" and signal.importance != 1.0
        scope = SignalScope(signal.main_check, reference.name, self.source.version, self.segment)
        return finding_of(
            self.source,
            self.series,
            check,
            decision,
            kind=_KIND_OF[check],
            severity=severity,
            direction=direction_of(reference, decision, after),
            explanation=signal_message(scope, check, reference, decision, after, estimate),
            subject=scope.subject,
            explained_by=self.explained_by,
            feature=reference.name if signal.main_check == "data" else None,
            before=None if check in ("validity", "range") else reference.mean,
            after=after,
            cause=_CAUSE_OF.get(check),
            segment=self.segment,
            estimated_before=None if estimate is None else round(estimate.before, 6),
            estimated_after=None if estimate is None else round(estimate.after, 6),
            importance=round(signal.importance, 6) if is_weighed else None,
        )

    def end(
        self, phase: Phase, at: EventPosition, alert: DriftAlert | None = None
    ) -> list[Finding]:
        """End the episode of the check that ``alert`` came from; without one, all of them."""
        if alert is None:
            return self.findings_of(self.signal.supersede(at.offset, at.time_ms))
        ended = self.signal.resolve(check_of(alert), at.offset, at.time_ms)
        return [] if ended is None else self.findings_of([ended])

    def level(self) -> int | None:
        """0: no change; 1: a suspicion; 2: an open episode."""
        return self.signal.level()

    def progress(self, alert: DriftAlert) -> RecoveryProgress | None:
        """Return the recovery progress of the episode of ``alert``; ``None`` if unknown."""
        return self.signal.progress(check_of(alert))

    def snapshot(self) -> Any:
        """The state of the signal."""
        return self.signal.snapshot()

    def restore(self, data: Any) -> None:
        """Continue from `snapshot`.  Raises ValueError where the data do not fit."""
        self.signal.restore(as_type(data, SignalState))


def _mean_after(reference: FeatureReference, decision: PhaseDecision) -> float | None:
    """The mean of the fresh events, or the share that is true or wrong; ``None`` of categories."""
    if not decision.n_events:
        return None
    if reference.kind == "numeric":
        mean_z = decision.total / decision.n_events / FIXED_POINT
        after = reference.centre + reference.scale * mean_z
        return after if abs(after) >= reference.scale / FIXED_POINT else 0.0  # their resolution
    if reference.kind == "outcome":
        return share_wrong(decision.bins)
    return decision.bins[-1] / decision.n_events if reference.kind == "boolean" else None


def _expected_error(signal: MonitoredSignal, decision: PhaseDecision) -> ErrorEstimate | None:
    """The error rates that the predictions let expect: of the reference, and of fresh events.

    ``None`` where the decision has no events, or the reference knows no expected error.
    """
    reference = signal.reference
    if not decision.n_events:
        return None
    if reference.kind == "outcome":
        before = mean_expected_loss(reference, reference.bin_counts)
        return ErrorEstimate(before, mean_expected_loss(reference, decision.bins))
    if signal.expected is None:
        return None
    after = decision.expected_total / decision.n_events / FIXED_POINT
    return ErrorEstimate(signal.expected.mean, after)
