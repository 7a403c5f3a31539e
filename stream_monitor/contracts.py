"""What the monitor publishes: alerts, health events, and dead letters of rejected records."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, TypeAlias

import msgspec

Phase: TypeAlias = Literal[
    "started", "ongoing", "recovered", "superseded", "acknowledged", "snoozed", "resolved"
]
ENDED_PHASES: Final[frozenset[Phase]] = frozenset({"recovered", "superseded", "resolved"})
"""The phases after which nothing more is said of an episode."""
Kind: TypeAlias = Literal[
    "data", "quality", "prediction", "concept", "volume", "labels", "coverage"
]
Severity: TypeAlias = Literal["low", "medium", "high"]
SEVERITY_RANK: Final[dict[Severity, int]] = {"low": 1, "medium": 2, "high": 3}
"""The order of severities, and what each weighs."""
DetectorName: TypeAlias = Literal["adwin", "page_hinkley", "rule"]
Direction: TypeAlias = Literal["up", "down", "better"]
"""Where to something moved; ``better`` is an error (kind ``concept``) below its reference."""
ReferenceOrigin: TypeAlias = Literal["training", "warm_up"]

ALERT_CE_TYPE: Final = "io.driftline.drift-alert.v1"
HealthPhase: TypeAlias = Literal["started", "resolved"]
HealthKind: TypeAlias = Literal[
    "partition_without_owner", "partition_stopped", "trainer_silent", "no_worker"
]
HEALTH_CE_TYPE: Final = "io.driftline.health.v1"
DEAD_LETTER_CE_TYPE: Final = "io.driftline.dead-letter.v1"

UNKNOWN_MODEL: Final = "unknown"
"""The model that a record counts for which names none."""
REJECTED: Final = "rejected"
"""The cause of an episode of rejected records.  Their times are of the append clock, for records
that nobody can read have no event time; and no model was fitted on them."""
EVERY_VERSION: Final = "-"
"""The version of an episode that is of no single one."""


class DriftAlert(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One phase of one episode of drift.

    ``alert_id`` is derived from partition, offset, series and phase: a repeat is recognised by
    it.  ``onset_offset`` is where the change is estimated to have begun, ``detected_offset`` the
    record that raised the suspicion, ``decided_offset`` the one that decided this phase; all lie
    in ``partition`` of the log.  ``effect`` is the adjusted population stability index of
    ``window_events`` fresh events against the reference.

    What a person did is a phase too: ``acknowledged``, ``snoozed`` (until ``until_ms`` of the
    append clock) and ``resolved`` name the ``actor`` and the ``reason``.  Later phases of an
    acknowledged episode carry ``acknowledged_by`` and the time of that command.  ``suppressed`` is
    how many alerts of the episode a snooze or a cooldown kept back so far.  ``segment``
    (``origin=EWR``) is the part of the traffic that drifts, where it is not the whole.  Of a
    relation (``relation/a~b``) the two means are rank correlations, and ``feature`` is null.
    ``drill`` is true of a shadow model's (`producer.synthetic`): somebody put the change in, to
    measure how soon it is told.

    ``estimated_before`` and ``estimated_after`` are the error rates that the predictions of the
    reference, and of the same fresh events, let expect without a label: of a prediction what its
    drift means, of a loss what is not a change of the truth.  ``importance`` of a feature's drift,
    of the most important feature's, is what its effect counts with in ``severity``.
    ``champion`` is the version in service, where it is another one: a retrain asks nothing of this.
    Kinds ``volume`` and ``labels`` are about how much comes, and when: ``effect`` is the logarithm
    of how many times the usual that is, the means are events a minute (``delay``: hours).
    Kind ``coverage`` is about what is not watched: ``cause`` is the `CoverageReason`, ``effect``
    the share of the last hour's events, ``window_events`` how many they are.

    A relation that is superseded while its version serves names in ``cause`` the series that tells
    it from then on.

    An "ongoing" alert with ``recovery_events`` says that the episode may be over: so many events
    look like the reference again, of about ``recovery_events_needed`` after which it is.  With 0 of
    them it was so, and is no longer.
    """

    alert_id: str
    episode_id: str
    phase: Phase
    kind: Kind
    severity: Severity
    model: str
    version: str
    series: str
    feature: str | None
    detector: DetectorName
    channel: str
    direction: Direction
    effect: float
    p_value: float
    window_events: int
    before: float | None = None
    after: float | None = None
    cause: str | None = None
    explanation: str
    reference: ReferenceOrigin
    topic: str
    partition: int
    onset_offset: int
    onset_ms: int
    detected_offset: int
    detected_ms: int
    decided_offset: int
    decided_ms: int
    actor: str | None = None
    reason: str = ""
    acknowledged_by: str | None = None
    acknowledged_ms: int | None = None
    until_ms: int | None = None
    suppressed: int = 0
    segment: str | None = None
    drill: bool = False
    estimated_before: float | None = None
    estimated_after: float | None = None
    importance: float | None = None
    recovery_events: int | None = None
    recovery_events_needed: int | None = None
    champion: str | None = None


class HealthEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something about driftline's own processes that keeps traffic or alerts from being worked on.

    Any live worker, or the trainer, publishes it beside the alerts; it follows from no record of
    the event topic.  ``health_id`` is derived, so that repeats of several writers are recognised;
    both phases of one problem share a ``problem_id``.  ``subject`` is a partition
    (``driftline.events.v1:3``), ``trainer``, or the monitor's group.
    """

    health_id: str
    problem_id: str
    phase: HealthPhase
    kind: HealthKind
    subject: str
    since_ms: int
    time_ms: int
    explanation: str
    fix: str


class ControlOutcome(NamedTuple):
    """What became of a control record: for the log of the worker, and for nobody else.

    ``actor`` is who gave it, as it says itself, ``source`` the ``ce_source`` of whoever wrote it.
    """

    offset: int
    kind: str
    model: str
    what: str
    actor: str
    source: str
    outcome: str


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A record that was rejected.  Its id is its position; ``payload`` is cut to a bound.

    ``model`` is the one it counts for, ``source`` the ``ce_source`` of whoever wrote it, empty
    where that is not known.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    reason: str
    detail: str
    sha256: str
    size_bytes: int
    payload: bytes = b""
    model: str = UNKNOWN_MODEL
    source: str = ""

    @property
    def letter_id(self) -> str:
        """Where the record lies: stable over any number of repeats."""
        return f"{self.topic}:{self.partition}:{self.offset}"
