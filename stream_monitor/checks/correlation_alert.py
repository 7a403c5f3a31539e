"""A verdict about a relation, as the alert that goes out, in words."""

from __future__ import annotations

from producer.synthetic import is_synthetic
from stream_monitor.contracts import DriftAlert
from stream_monitor.episodes.alert import AlertSource, derived_id
from stream_monitor.episodes.lifecycle import PhaseDecision
from stream_monitor.episodes.messages import correlation_message
from stream_monitor.reference.correlation_reference import CorrelationReference
from stream_monitor.statistics.distance import rounded_effect
from stream_monitor.statistics.fixed_point import FIXED_POINT


def correlation_alert(
    source: AlertSource,
    series_name: str,
    relation: CorrelationReference,
    decision: PhaseDecision,
    superseded_by: str | None = None,
) -> DriftAlert:
    """Build the alert of ``decision``; pure, so that a replay builds the very same one.

    ``superseded_by`` is the feature whose own episode tells it from now on.
    """
    suspicion = decision.suspicion
    now = None
    if decision.n_events:
        now = relation.correlation_of(decision.total / decision.n_events / FIXED_POINT)
    episode_id = derived_id(
        source.topic,
        source.partition,
        source.model,
        source.version,
        series_name,
        "data",
        suspicion.offset,
    )
    return DriftAlert(
        alert_id=derived_id(episode_id, decision.phase, decision.offset),
        episode_id=episode_id,
        phase=decision.phase,
        kind="data",
        severity=decision.severity or "low",
        model=source.model,
        version=source.version,
        series=series_name,
        feature=None,
        detector=suspicion.detector,
        channel=suspicion.channel,
        direction=suspicion.direction,
        effect=rounded_effect(decision.effect),
        p_value=decision.p_value,
        window_events=decision.n_events,
        before=round(relation.correlation, 6),
        after=None if now is None else round(now, 6),
        cause=None if superseded_by is None else f"feature/{superseded_by}",
        explanation=correlation_message(
            (relation.first, relation.second),
            source.version,
            relation.correlation,
            now,
            decision,
            superseded_by,
        ),
        reference=source.origin,
        topic=source.topic,
        partition=source.partition,
        onset_offset=suspicion.onset_offset,
        onset_ms=suspicion.onset_ms,
        detected_offset=suspicion.offset,
        detected_ms=suspicion.time_ms,
        decided_offset=decision.offset,
        decided_ms=decision.time_ms,
        drill=is_synthetic(source.model),
        recovery_events=None if decision.clear is None else decision.clear.n_events,
        recovery_events_needed=None if decision.clear is None else decision.clear.n_needed or None,
    )
