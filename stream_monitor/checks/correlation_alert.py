"""The alert of a decision about the correlation of two features."""

from __future__ import annotations

from stream_monitor.contracts import DriftAlert
from stream_monitor.episodes.alert import AlertSource, decision_alert
from stream_monitor.episodes.lifecycle import PhaseDecision
from stream_monitor.episodes.messages import correlation_message
from stream_monitor.reference.correlation_reference import CorrelationReference
from stream_monitor.statistics.fixed_point import FIXED_POINT


def correlation_alert(
    source: AlertSource,
    series_name: str,
    relation: CorrelationReference,
    decision: PhaseDecision,
    superseded_by: str | None = None,
) -> DriftAlert:
    """Build the alert of ``decision``; pure, so that a replay builds the same one.

    ``superseded_by`` is the feature whose own episode includes this one from now on.
    """
    now = None
    if decision.n_events:
        now = relation.correlation_of(decision.total / decision.n_events / FIXED_POINT)
    names = relation.first, relation.second
    return decision_alert(
        source,
        series_name,
        "data",
        decision,
        kind="data",
        severity=decision.severity or "low",
        direction=decision.suspicion.direction,
        explanation=correlation_message(
            names, source.version, relation.correlation, now, decision, superseded_by
        ),
        before=round(relation.correlation, 6),
        after=None if now is None else round(now, 6),
        cause=None if superseded_by is None else f"feature/{superseded_by}",
    )
