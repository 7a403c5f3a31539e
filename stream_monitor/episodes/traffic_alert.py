"""Episodes of how much comes, and when, as alerts: silence, volume, label outage, label delay.

An open episode is its latest alert; the next phase is that alert with what has changed.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import msgspec

from stream_monitor.contracts import SEVERITY_RANK, Direction, DriftAlert, Kind, Phase, Severity
from stream_monitor.episodes.alert import derived_id, later_phase
from stream_monitor.episodes.traffic_messages import traffic_ended_message

TRAFFIC: Final[dict[Kind, str]] = {"volume": "events", "labels": "labels"}
"""The series of each kind that is about the traffic, not about what it says."""


class TrafficSource(NamedTuple):
    """Whose traffic it is."""

    topic: str
    partition: int
    model: str
    version: str


class EventPosition(NamedTuple):
    """A record of the log, and the event time it stands for."""

    offset: int
    time_ms: int


class TrafficFinding(NamedTuple):
    """What a phase tells.

    ``ratio`` is how many times the usual; ``deviance`` bounds the chance of it by exp(-deviance).
    """

    explanation: str
    severity: Severity
    ratio: float
    deviance: float
    n_events: int
    before: float | None = None
    after: float | None = None


def severity_of(ratio: float) -> Severity:
    """How bad a change of the rate is.

    >>> severity_of(0.6), severity_of(0.4), severity_of(7.0)
    ('low', 'medium', 'high')
    """
    times = max(ratio, 1 / ratio)
    if times >= 5:
        return "high"
    return "medium" if times >= 2 else "low"


def worse(finding: TrafficFinding, than: DriftAlert) -> bool:
    """Whether it is worse than what was told."""
    return SEVERITY_RANK[finding.severity] > SEVERITY_RANK[than.severity]


def started_alert(
    source: TrafficSource,
    kind: Kind,
    channel: str,
    direction: Direction,
    onset: EventPosition,
    at: EventPosition,
    finding: TrafficFinding,
) -> DriftAlert:
    """The first alert of an episode that is decided at the record ``at``."""
    series = TRAFFIC[kind]
    episode_id = derived_id(*source, series, channel, at.offset)
    return DriftAlert(
        alert_id=derived_id(episode_id, "started", at.offset),
        episode_id=episode_id,
        phase="started",
        kind=kind,
        severity=finding.severity,
        model=source.model,
        version=source.version,
        series=series,
        feature=None,
        detector="rule",
        channel=channel,
        direction=direction,
        effect=_effect(finding),
        p_value=math.exp(-finding.deviance),
        window_events=finding.n_events,
        before=finding.before,
        after=finding.after,
        explanation=finding.explanation,
        reference="warm_up",
        topic=source.topic,
        partition=source.partition,
        onset_offset=onset.offset,
        onset_ms=onset.time_ms,
        detected_offset=at.offset,
        detected_ms=at.time_ms,
        decided_offset=at.offset,
        decided_ms=at.time_ms,
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
    """An episode that another version, or a person, ends."""
    message = traffic_ended_message(TRAFFIC[alert.kind], resolved=phase == "resolved")
    return later_phase(alert, phase, at.offset, at.time_ms, message)
