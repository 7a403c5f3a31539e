"""A decision about a series, as the alert that goes out."""

from __future__ import annotations

from typing import Final

from producer.synthetic import is_synthetic
from stream_monitor.checks.estimated_error import estimated_error
from stream_monitor.checks.monitored_signal import CheckName, Finding, MonitoredSignal
from stream_monitor.contracts import DriftAlert, Kind
from stream_monitor.episodes.alert import AlertSource, derived_id
from stream_monitor.episodes.error_rate_tracker import share_wrong
from stream_monitor.episodes.messages import SignalScope, direction_of, signal_message
from stream_monitor.episodes.policy import loss_severity
from stream_monitor.statistics.distance import rounded_effect
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
    """Which track of its series an alert came from."""
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
    """Build the alert of ``finding``; pure, so that a replay builds the very same one."""
    track, decision = finding
    suspicion, reference = decision.suspicion, series.reference
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
    episode_id = derived_id(
        source.topic,
        source.partition,
        source.model,
        source.version,
        series_name,
        track,
        suspicion.offset,
    )
    return DriftAlert(
        alert_id=derived_id(episode_id, decision.phase, decision.offset),
        episode_id=episode_id,
        phase=decision.phase,
        kind=_KIND_OF[track],
        severity=severity,
        model=source.model,
        version=source.version,
        series=series_name,
        feature=reference.name if series.main_check == "data" else None,
        detector=suspicion.detector,
        channel=suspicion.channel,
        direction=direction_of(reference, decision, after),
        effect=rounded_effect(decision.effect),
        p_value=decision.p_value,
        window_events=decision.n_events,
        before=None if track in ("validity", "range") else reference.mean,
        after=after,
        cause=_CAUSE_OF.get(track),
        explanation=signal_message(scope, track, reference, decision, after, estimated),
        reference=source.origin,
        topic=source.topic,
        partition=source.partition,
        onset_offset=suspicion.onset_offset,
        onset_ms=suspicion.onset_ms,
        detected_offset=suspicion.offset,
        detected_ms=suspicion.time_ms,
        decided_offset=decision.offset,
        decided_ms=decision.time_ms,
        segment=segment,
        drill=is_synthetic(source.model),
        estimated_before=None if estimated is None else round(estimated.before, 6),
        estimated_after=None if estimated is None else round(estimated.after, 6),
        importance=round(series.importance, 6) if weighed else None,
        recovery_events=None if decision.clear is None else decision.clear.n_events,
        recovery_events_needed=None if decision.clear is None else decision.clear.n_needed or None,
    )
