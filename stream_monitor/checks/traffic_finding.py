"""Findings about the traffic: silence, event volume, label outage and label delay."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from stream_monitor.contracts import Direction, Kind, Phase, Severity
from stream_monitor.episodes.finding import AlertSource, EventPosition, Finding
from stream_monitor.episodes.rule_episode import RuleEpisode
from stream_monitor.episodes.traffic_messages import traffic_ended_message

TRAFFIC: Final[dict[Kind, str]] = {"volume": "events", "labels": "labels"}
"""The series of each kind of alert about the traffic."""


class TrafficEvidence(NamedTuple):
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

    @property
    def effect(self) -> float:
        """The logarithm of the ratio, without its sign."""
        return round(abs(math.log(self.ratio)), 6)


def severity_of(ratio: float) -> Severity:
    """The severity of a change of the rate.

    >>> severity_of(0.6), severity_of(0.4), severity_of(7.0)
    ('low', 'medium', 'high')
    """
    times = max(ratio, 1 / ratio)
    if times >= 5:
        return "high"
    return "medium" if times >= 2 else "low"


def start_episode(
    episode: RuleEpisode,
    source: AlertSource,
    kind: Kind,
    channel: str,
    direction: Direction,
    onset: EventPosition,
    at: EventPosition,
    evidence: TrafficEvidence,
) -> Finding:
    """Open an episode, decided ``at`` a record."""
    series = TRAFFIC[kind]
    return episode.start(
        Finding(
            source=source,
            series=series,
            check=channel,
            episode_id=source.episode_id(series, channel, at.offset),
            phase="started",
            kind=kind,
            severity=evidence.severity,
            channel=channel,
            direction=direction,
            effect=evidence.effect,
            window_events=evidence.n_events,
            explanation=evidence.explanation,
            onset=onset,
            detected=at,
            decided=at,
            p_value=math.exp(-evidence.deviance),
            before=evidence.before,
            after=evidence.after,
        )
    )


def continue_episode(
    episode: RuleEpisode, phase: Phase, at: EventPosition, evidence: TrafficEvidence
) -> Finding:
    """Enter a later phase of an episode with its present evidence."""
    return episode.enter(
        phase,
        at,
        evidence.explanation,
        severity=evidence.severity,
        effect=evidence.effect,
        p_value=math.exp(-evidence.deviance),
        window_events=evidence.n_events,
        after=evidence.after,
    )


def end_episode(
    episode: RuleEpisode, series: str, phase: Phase, at: EventPosition
) -> list[Finding]:
    """End an episode on the command of a person, or because its model is removed."""
    if episode.latest is None:
        return []
    message = traffic_ended_message(series, resolved=phase == "resolved")
    return [episode.enter(phase, at, message)]
