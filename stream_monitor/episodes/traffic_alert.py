"""Alerts about the traffic: silence, event volume, label outage and label delay.

An open episode is its latest alert; the next phase is that alert with what has changed.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import msgspec

from stream_monitor.contracts import SEVERITY_RANK, Direction, DriftAlert, Kind, Phase, Severity
from stream_monitor.episodes.alert import AlertSource, EventPosition, later_phase, new_alert
from stream_monitor.episodes.traffic_messages import traffic_ended_message

TRAFFIC: Final[dict[Kind, str]] = {"volume": "events", "labels": "labels"}
"""The series of each kind of alert about the traffic."""


class TrafficFinding(NamedTuple):
    """The evidence of a phase.

    ``ratio`` is the observed rate divided by the usual one; exp(-``deviance``) bounds its p-value.
    """

    explanation: str
    severity: Severity
    ratio: float
    deviance: float
    n_events: int
    before: float | None = None
    after: float | None = None


def severity_of(ratio: float) -> Severity:
    """The severity of a change of the rate.

    >>> severity_of(0.6), severity_of(0.4), severity_of(7.0)
    ('low', 'medium', 'high')
    """
    times = max(ratio, 1 / ratio)
    if times >= 5:
        return "high"
    return "medium" if times >= 2 else "low"


def worse(finding: TrafficFinding, than: DriftAlert) -> bool:
    """Whether a finding is more severe than the latest alert."""
    return SEVERITY_RANK[finding.severity] > SEVERITY_RANK[than.severity]


def started_alert(
    source: AlertSource,
    kind: Kind,
    channel: str,
    direction: Direction,
    onset: EventPosition,
    at: EventPosition,
    finding: TrafficFinding,
) -> DriftAlert:
    """The first alert of an episode that is decided at the record ``at``."""
    series = TRAFFIC[kind]
    return new_alert(
        source,
        series,
        source.episode_id(series, channel, at.offset),
        onset=onset,
        detected=at,
        kind=kind,
        severity=finding.severity,
        channel=channel,
        direction=direction,
        effect=_effect(finding),
        p_value=math.exp(-finding.deviance),
        window_events=finding.n_events,
        before=finding.before,
        after=finding.after,
        explanation=finding.explanation,
    )


def later_alert(
    alert: DriftAlert, phase: Phase, at: EventPosition, finding: TrafficFinding
) -> DriftAlert:
    """A later phase of the episode of ``alert``."""
    return msgspec.structs.replace(
        later_phase(alert, phase, at.offset, at.time_ms, finding.explanation),
        severity=finding.severity if worse(finding, alert) else alert.severity,
        effect=_effect(finding),
        p_value=math.exp(-finding.deviance),
        window_events=finding.n_events,
        after=finding.after,
    )


def _effect(finding: TrafficFinding) -> float:
    return round(abs(math.log(finding.ratio)), 6)


def ended_alert(alert: DriftAlert, phase: Phase, at: EventPosition) -> DriftAlert:
    """The end of an episode that a person, or the removal of its model, ends."""
    message = traffic_ended_message(TRAFFIC[alert.kind], resolved=phase == "resolved")
    return later_phase(alert, phase, at.offset, at.time_ms, message)
