"""Subjects of messages: incidents, episodes of coverage, problems of driftline itself.  Pure.

A subject keeps its id for its whole life.  An incident's own id may change when an earlier episode
arrives late; the subject of an incident is therefore found by the episodes that it has had.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, TypeAlias

import msgspec

from stream_monitor.contracts import (
    ENDED_PHASES,
    SEVERITY_RANK,
    DriftAlert,
    HealthEvent,
    Kind,
    Severity,
)
from stream_monitor.episodes.incidents import Incident, IncidentPolicy, incidents_of

Source: TypeAlias = Literal["incident", "coverage", "health"]
CAUSE_TITLES: Final[dict[str, str]] = {
    "data_break": "broken data",
    "new_deploy": "change with a new version",
    "season": "seasonal change",
    "population_shift": "shift of the population",
    "feature_change": "drift of a feature",
    "prediction_change": "drift of predictions",
    "concept_change": "concept drift",
    "traffic_change": "change of the traffic",
}

OTHER_TITLE: Final = "drift of a feature correlation"
"""The only cause without a title above."""


class Episode(msgspec.Struct, frozen=True, kw_only=True):
    """One episode of a subject, as of its latest alert; ``ended_ms`` null: it is open."""

    episode_id: str
    version: str
    series: str
    kind: str
    severity: Severity
    started_ms: int
    ended_ms: int | None
    explanation: str


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """The subject of a message.  Times are event times; ``closed_ms`` null: it is open.

    ``model`` is empty where the subject concerns no model.  ``fix`` is what to do, where the
    explanation does not contain it.  ``incident_id`` is the present id of an incident.
    """

    subject_id: str
    source: Source
    model: str
    title: str
    severity: Severity
    kinds: list[str]
    opened_ms: int
    closed_ms: int | None
    explanation: str
    episodes: list[Episode]
    acknowledged_by: str | None = None
    fix: str = ""
    incident_id: str = ""

    @property
    def content(self) -> str:
        """A digest of what a message would show: equal contents need no update."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:32]


class Grouping(msgspec.Struct, frozen=True):
    """The subjects of a model, and those that have become part of another one.

    ``absorbed`` maps the id of a subject that no longer exists to the id of its successor.
    """

    subjects: list[Subject]
    absorbed: dict[str, str]


def subjects_of_alerts(
    alerts: Sequence[DriftAlert], policy: IncidentPolicy, known: Mapping[str, str]
) -> Grouping:
    """The subjects of the alerts of one model.

    ``known`` maps each episode of an earlier call to its subject, in the order in which the
    subjects were made.  Alerts of drills must not be among the alerts.
    """
    rank = {subject_id: number for number, subject_id in enumerate(dict.fromkeys(known.values()))}
    subjects: list[Subject] = []
    absorbed: dict[str, str] = {}
    for incident in incidents_of(alerts, policy):
        had = {known[m.episode_id] for m in incident.members if m.episode_id in known}
        by_age = sorted(had, key=rank.__getitem__)
        taken = {subject.subject_id for subject in subjects}
        subject_id = next((one for one in by_age if one not in taken), incident.incident_id)
        subjects.append(_of_incident(incident, subject_id))
        absorbed.update((one, subject_id) for one in by_age if one != subject_id)
    present = {subject.subject_id for subject in subjects}
    subjects += _of_coverage(alerts)
    return Grouping(subjects, {old: new for old, new in absorbed.items() if old not in present})


def _of_incident(incident: Incident, subject_id: str) -> Subject:
    cause = incident.causes[0].name if incident.causes else None
    acknowledged = [m.acknowledged_by for m in incident.members if m.acknowledged_by]
    return Subject(
        subject_id=subject_id,
        source="incident",
        model=incident.model,
        title="drift" if cause is None else CAUSE_TITLES.get(cause, OTHER_TITLE),
        severity=incident.severity,
        kinds=sorted({member.kind for member in incident.members}),
        opened_ms=incident.opened_ms,
        closed_ms=incident.closed_ms,
        explanation=incident.explanation,
        episodes=[
            Episode(
                episode_id=member.episode_id,
                version=member.version,
                series=member.series,
                kind=member.kind,
                severity=member.severity,
                started_ms=member.started_ms,
                ended_ms=member.ended_ms,
                explanation=member.explanation,
            )
            for member in incident.members
        ],
        acknowledged_by=acknowledged[-1] if incident.acknowledged and acknowledged else None,
        incident_id=incident.incident_id,
    )


def _of_coverage(alerts: Iterable[DriftAlert]) -> list[Subject]:
    """A subject for each episode of coverage, which no incident contains."""
    by_episode: dict[str, list[DriftAlert]] = {}
    for alert in alerts:
        if alert.kind == "coverage":
            by_episode.setdefault(alert.episode_id, []).append(alert)
    found = []
    for phases in by_episode.values():
        phases.sort(key=lambda a: (a.decided_offset, a.alert_id))
        first, last = phases[0], phases[-1]
        ended = next((a.decided_ms for a in phases if a.phase in ENDED_PHASES), None)
        severity = max((a.severity for a in phases), key=SEVERITY_RANK.__getitem__)
        kind: Kind = "coverage"
        episode = Episode(
            episode_id=first.episode_id,
            version=first.version,
            series=first.series,
            kind=kind,
            severity=severity,
            started_ms=first.decided_ms,
            ended_ms=ended,
            explanation=last.explanation,
        )
        found.append(
            Subject(
                subject_id=first.episode_id,
                source="coverage",
                model=first.model,
                title="traffic that is not watched",
                severity=severity,
                kinds=[kind],
                opened_ms=first.decided_ms,
                closed_ms=ended,
                explanation=last.explanation,
                episodes=[episode],
                acknowledged_by=last.acknowledged_by,
            )
        )
    return found


def subjects_of_health(events: Iterable[HealthEvent]) -> list[Subject]:
    """A subject for each problem of driftline's own processes; repeats change nothing."""
    by_problem: dict[str, dict[str, HealthEvent]] = {}
    for event in events:
        by_problem.setdefault(event.problem_id, {})[event.phase] = event
    return [_of_problem(phases) for phases in by_problem.values()]


def _of_problem(phases: Mapping[str, HealthEvent]) -> Subject:
    first = phases.get("started") or phases["resolved"]
    resolved = phases.get("resolved")
    return Subject(
        subject_id=first.problem_id,
        source="health",
        model="",
        title=f"driftline: {first.kind.replace('_', ' ')}",
        severity="high",
        kinds=["health"],
        opened_ms=first.since_ms,
        closed_ms=None if resolved is None else resolved.time_ms,
        explanation=(resolved or first).explanation,
        episodes=[],
        fix="" if resolved is not None else first.fix,
    )
