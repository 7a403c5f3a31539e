"""Incidents: episodes of one model that belong together, computed from its alerts.  Pure.

One event in the world changes many features, each found after its own delay; so episodes that began
together, or were reported shortly after each other, are one incident.  It ends when all of them
have ended.  A series that drifts again soon after reopens its incident.

Incidents are computed from the alerts topic, not written: each reader that starts at its beginning
finds the same ones, with the same ids, also across the partitions of a hot model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Final, TypeAlias

import msgspec

from stream_monitor.contracts import ENDED_PHASES, SEVERITY_RANK, DriftAlert, Kind, Severity
from stream_monitor.episodes.causes import Cause, Member, names_of, ranked_causes
from stream_monitor.episodes.finding import derived_id
from stream_monitor.episodes.phase_messages import incident_message

_NO_DRIFT: Final = ENDED_PHASES | {"acknowledged", "snoozed"}
"""Phases that do not report drift."""


Duration: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
AtLeastOne: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]


class IncidentPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The rules that group episodes into incidents.

    Episodes belong together whose onsets, or whose first alerts, lie within ``window_ms`` of event
    time; and a series that drifts again within ``cooldown_ms`` of the end.  Onsets span at most
    ``max_span_ms``, so that frequent drift is not one incident without end.

    An incident needs ``min_series`` different series of a model, of any version, that drift
    together; a severe change or broken data are an incident alone.  ``shift_features`` features
    that drift make a shift of the population certain.
    """

    window_ms: Duration = 24 * 3_600_000
    cooldown_ms: Duration = 24 * 3_600_000
    max_span_ms: Duration = 14 * 24 * 3_600_000
    min_series: AtLeastOne = 1
    shift_features: AtLeastOne = 3


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """Episodes of one model that belong together, with their possible causes.

    ``closed_ms`` null: one of its episodes is open.  Times are event times.
    """

    incident_id: str
    model: str
    severity: Severity
    opened_ms: int
    onset_ms: int
    closed_ms: int | None
    causes: list[Cause]
    members: list[Member]
    explanation: str

    @property
    def acknowledged(self) -> bool:
        """Whether a person has acknowledged every open episode."""
        return all(m.acknowledged_by for m in self.members if m.ended_ms is None)


def incidents_of(
    alerts: Iterable[DriftAlert],
    policy: IncidentPolicy | None = None,
    *,
    deploys: Mapping[str, Mapping[str, int]] | None = None,
) -> list[Incident]:
    """The incidents of ``alerts``, in the order in which they opened.

    Repeats of an alert, and the order in which partitions are read, change nothing.  ``deploys``
    are the event times, by model and version, at which each was put into service.
    """
    policy = policy or IncidentPolicy()
    members = _members(alerts)
    groups: list[_Group] = []
    for model, member in sorted(members, key=lambda one: (one[1].started_ms, one[1].episode_id)):
        mine = [group for group in reversed(groups) if group.model == model]
        group = next((group for group in mine if group.takes(member, policy)), None)
        if group is None:
            group = _Group(model)
            groups.append(group)
        group.members.append(member)
    found: list[Incident] = []
    before: dict[tuple[str, str, Kind], list[int]] = {}
    for group in groups:
        of_model = {key[1:]: onsets for key, onsets in before.items() if key[0] == group.model}
        served = (deploys or {}).get(group.model, {})
        if group.is_incident(policy):
            found.append(_incident(group, of_model, served, policy))
        for member in group.members:
            key = (group.model, member.series, member.kind)
            before.setdefault(key, []).append(member.onset_ms)
    return found


class _Group:
    """Episodes of one model that belong together."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.members: list[Member] = []

    @property
    def closed_ms(self) -> int | None:
        ends = [member.ended_ms for member in self.members]
        known = [end for end in ends if end is not None]
        return max(known) if len(known) == len(ends) else None

    def is_incident(self, policy: IncidentPolicy) -> bool:
        """Whether enough series drift, or one of them severely."""
        if any(member.broken or member.severity == "high" for member in self.members):
            return True
        return len({member.series for member in self.members}) >= policy.min_series

    def takes(self, member: Member, policy: IncidentPolicy) -> bool:
        """Whether an episode that was reported later belongs to the group."""
        onsets = [member.onset_ms, *(one.onset_ms for one in self.members)]
        if max(onsets) - min(onsets) > policy.max_span_ms:
            return False
        together = any(
            min(abs(member.onset_ms - one.onset_ms), member.started_ms - one.started_ms)
            <= policy.window_ms
            for one in self.members
        )
        if together:
            return True
        ended = [
            one.ended_ms
            for one in self.members
            if (one.series, one.kind) == (member.series, member.kind)
        ]
        return any(end is not None and member.onset_ms - end <= policy.cooldown_ms for end in ended)


def _members(alerts: Iterable[DriftAlert]) -> list[tuple[str, Member]]:
    """Each reported episode, whatever the order of its alerts.

    Coverage is left out: it reports what driftline does not see, not what happened.
    """
    by_episode: dict[str, dict[str, DriftAlert]] = {}
    for alert in alerts:
        if alert.kind == "coverage":
            continue
        by_episode.setdefault(alert.episode_id, {})[alert.alert_id] = alert
    found = []
    for reported in by_episode.values():
        phases = sorted(reported.values(), key=lambda a: (a.decided_offset, a.alert_id))
        first, last = phases[0], phases[-1]
        drift = [a for a in phases if a.phase not in _NO_DRIFT and not a.recovery_events] or [last]
        worst = max(drift, key=lambda a: (SEVERITY_RANK[a.severity], a.decided_offset))
        ended = next((a for a in phases if a.phase in ENDED_PHASES), None)
        person = [a.actor for a in phases if a.phase == "acknowledged"]
        name = first.feature or first.series
        if first.segment is not None and first.feature is not None:
            name = f"{first.feature} of {first.segment}"
        member = Member(
            episode_id=first.episode_id,
            version=first.version,
            series=first.series,
            name=name,
            kind=first.kind,
            broken=first.kind == "quality" or first.cause == "unit_change",
            severity=worst.severity,
            effect=worst.effect,
            onset_ms=first.onset_ms,
            started_ms=first.decided_ms,
            ended_ms=None if ended is None else ended.decided_ms,
            acknowledged_by=person[-1] if person else last.acknowledged_by,
            explanation=worst.explanation,
            feature=first.feature,
        )
        found.append((first.model, member))
    return found


def _incident(
    group: _Group,
    before: Mapping[tuple[str, Kind], Sequence[int]],
    deploys: Mapping[str, int],
    policy: IncidentPolicy,
) -> Incident:
    members = sorted(group.members, key=lambda m: (m.started_ms, m.episode_id))
    causes = ranked_causes(
        members, before, deploys, shift_features=policy.shift_features, window_ms=policy.window_ms
    )
    onset_ms = min(member.onset_ms for member in members)
    why = causes[0].why if causes else names_of(members)
    return Incident(
        incident_id=derived_id("incident", group.model, members[0].episode_id),
        model=group.model,
        severity=max((member.severity for member in members), key=SEVERITY_RANK.__getitem__),
        opened_ms=members[0].started_ms,
        onset_ms=onset_ms,
        closed_ms=group.closed_ms,
        causes=causes,
        members=members,
        explanation=incident_message(why, onset_ms),
    )
