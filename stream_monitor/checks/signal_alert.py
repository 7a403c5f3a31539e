"""The alert of a decision about one monitored signal."""

from __future__ import annotations

from typing import Final

from stream_monitor.checks.estimated_error import estimated_error
from stream_monitor.checks.monitored_signal import CheckName, Finding, MonitoredSignal
from stream_monitor.contracts import DriftAlert, Kind
from stream_monitor.episodes.alert import AlertSource, decision_alert
from stream_monitor.episodes.error_rate_tracker import share_wrong
from stream_monitor.episodes.messages import SignalScope, direction_of, signal_message
from stream_monitor.episodes.policy import loss_severity
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
    """The check of its signal that an alert came from."""
    if alert.kind == "quality":
        named = (track for track, cause in _CAUSE_OF.items() if cause == alert.cause)
        return next(named, "validity")
    return next(track for track, kind in _KIND_OF.items() if kind == alert.kind)


def alert_of(
    source: AlertSource,
    series_name: str,
    series: MonitoredSignal,
    finding: Finding,
    segment: str | None = None,
) -> DriftAlert:
    """Build the alert of ``finding``; pure, so that a replay builds the same one."""
    track, decision = finding
    reference = series.reference
    after = None
    if track in ("validity", "range"):  # not about the level
        pass
    elif decision.n_events and reference.kind == "numeric":
        mean_z = decision.total / decision.n_events / FIXED_POINT
        after = reference.centre + reference.scale * mean_z
    elif decision.n_events and reference.kind == "outcome":
        after = share_wrong(decision.bins)
    elif decision.n_events and reference.kind == "boolean":
        after = decision.bins[-1] / decision.n_events
    severity = decision.severity or "low"
    if track == "concept" and after is not None:
        severity = loss_severity(reference.mean or 0.0, after)
    estimated = (
        None if track in ("validity", "unit", "range") else estimated_error(series, decision)
    )
    scope = SignalScope(series.main_check, reference.name, source.version, segment)
    weighed = track == "data" and series.importance != 1.0
    return decision_alert(
        source,
        series_name,
        track,
        decision,
        kind=_KIND_OF[track],
        severity=severity,
        direction=direction_of(reference, decision, after),
        explanation=signal_message(scope, track, reference, decision, after, estimated),
        feature=reference.name if series.main_check == "data" else None,
        before=None if track in ("validity", "range") else reference.mean,
        after=after,
        cause=_CAUSE_OF.get(track),
        segment=segment,
        estimated_before=None if estimated is None else round(estimated.before, 6),
        estimated_after=None if estimated is None else round(estimated.after, 6),
        importance=round(series.importance, 6) if weighed else None,
    )
