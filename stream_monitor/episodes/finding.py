"""Findings: the results of checks, before it is decided which of them become alerts."""

from __future__ import annotations

import hashlib
from typing import NamedTuple, TypedDict, Unpack

import msgspec

from stream_monitor.contracts import (
    ENDED_PHASES,
    DetectorName,
    Direction,
    Kind,
    Phase,
    ReferenceOrigin,
    Severity,
)
from stream_monitor.episodes.phase_decision import PhaseDecision
from stream_monitor.episodes.recovery import RecoveryProgress
from stream_monitor.statistics.distance import rounded_effect


def derived_id(*parts: object) -> str:
    """Derive an id from what identifies a decision, so that a replay derives the same one.

    >>> derived_id("t", 0, 17) == derived_id("t", 0, 17) != derived_id("t", 0, 18)
    True
    """
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()[:32]


class AlertSource(NamedTuple):
    """The model version that alerts are about, its partition, and where its reference is from."""

    topic: str
    partition: int
    model: str
    version: str
    origin: ReferenceOrigin = "warm_up"

    def episode_id(self, *key: object) -> str:
        """The id of an episode from its ``key``: the series, then what distinguishes it."""
        return derived_id(self.topic, self.partition, self.model, self.version, *key)


class EventPosition(NamedTuple):
    """An offset, the event time there, and for a record of many events the ``row`` in it."""

    offset: int
    time_ms: int
    row: int = 0


class ExplainedBy(NamedTuple):
    """Series whose episodes explain those of another series, which are then not reported.

    An episode of one of ``parents`` contains the change: of all traffic that of a segment, of a
    feature that of its correlations.  One of ``siblings`` has the same cause.  ``ends``: an
    episode of a parent that starts later ends the explained one.
    """

    parents: tuple[str, ...]
    siblings: tuple[str, ...] = ()
    ends: bool = False


class Finding(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One phase of one episode, as a check decided it.

    An episode belongs to a ``series``, and is one of those that a ``check`` of the series finds.
    ``onset`` is where the change is estimated to have begun, ``detected`` the record that raised
    the suspicion, ``decided`` the record that decided this phase.  The other fields are those of
    `DriftAlert`.

    ``since`` is the offset after which the events of the evidence were counted.  ``repeats`` marks
    a finding that an episode is still open (`RepeatingEpisodeTracker`).
    """

    source: AlertSource
    series: str
    check: str
    episode_id: str
    phase: Phase
    kind: Kind
    severity: Severity
    channel: str
    direction: Direction
    effect: float
    window_events: int
    explanation: str
    onset: EventPosition
    detected: EventPosition
    decided: EventPosition
    subject: str = ""
    """The series as the subject of a sentence."""
    explained_by: ExplainedBy | None = None
    detector: DetectorName = "rule"
    p_value: float = 0.0
    feature: str | None = None
    before: float | None = None
    after: float | None = None
    cause: str | None = None
    segment: str | None = None
    estimated_before: float | None = None
    estimated_after: float | None = None
    importance: float | None = None
    progress: RecoveryProgress | None = None
    drill: bool | None = None
    """Whether the model is synthetic; ``None``: its name decides."""
    since: int = -1
    repeats: bool = False

    @property
    def has_ended(self) -> bool:
        """Whether the phase ends the episode."""
        return self.phase in ENDED_PHASES

    @property
    def key(self) -> tuple[str, str]:
        """The series and the check: at most one episode of them is open."""
        return self.series, self.check


class OptionalFields(TypedDict, total=False):
    """Fields of `Finding` that only some checks fill in."""

    subject: str
    explained_by: ExplainedBy | None
    feature: str | None
    before: float | None
    after: float | None
    cause: str | None
    segment: str | None
    estimated_before: float | None
    estimated_after: float | None
    importance: float | None


def finding_of(
    source: AlertSource,
    series: str,
    check: str,
    decision: PhaseDecision,
    *,
    kind: Kind,
    severity: Severity,
    direction: Direction,
    explanation: str,
    **optional: Unpack[OptionalFields],
) -> Finding:
    """The finding of a phase that an `EpisodeTracker` decided about a signal."""
    suspicion = decision.suspicion
    return Finding(
        source=source,
        series=series,
        check=check,
        episode_id=source.episode_id(series, check, suspicion.offset),
        phase=decision.phase,
        kind=kind,
        severity=severity,
        channel=suspicion.channel,
        direction=direction,
        effect=rounded_effect(decision.effect),
        window_events=decision.n_events,
        explanation=explanation,
        onset=EventPosition(suspicion.onset_offset, suspicion.onset_ms),
        detected=EventPosition(suspicion.offset, suspicion.time_ms),
        decided=EventPosition(decision.offset, decision.time_ms),
        detector=suspicion.detector,
        p_value=decision.p_value,
        progress=decision.progress,
        since=decision.since,
        repeats=decision.repeats,
        **optional,
    )
