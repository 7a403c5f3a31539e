"""The records that the monitor publishes: alerts, health events, and dead letters."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

Phase: TypeAlias = Literal[
    "started", "ongoing", "recovered", "superseded", "acknowledged", "snoozed", "resolved"
]
ENDED_PHASES: Final[frozenset[Phase]] = frozenset({"recovered", "superseded", "resolved"})
"""The phases that end an episode."""
Kind: TypeAlias = Literal[
    "data", "quality", "prediction", "concept", "volume", "labels", "coverage"
]
Severity: TypeAlias = Literal["low", "medium", "high"]
SEVERITY_RANK: Final[dict[Severity, int]] = {"low": 1, "medium": 2, "high": 3}
"""The order of severities, and the weight of each."""
DetectorName: TypeAlias = Literal["adwin", "page_hinkley", "rule"]
Direction: TypeAlias = Literal["up", "down", "better"]
"""The direction of a change; ``better`` is an error (kind ``concept``) below its reference."""
ReferenceOrigin: TypeAlias = Literal["training", "warm_up"]

ALERT_CE_TYPE: Final = "io.driftline.drift-alert.v1"
HealthPhase: TypeAlias = Literal["started", "resolved"]
HealthKind: TypeAlias = Literal[
    "partition_without_owner",
    "partition_stopped",
    "trainer_silent",
    "no_worker",
    "scoring_stopped",
    "mlflow_out_of_date",
    "alias_moved",
]
HEALTH_CE_TYPE: Final = "io.driftline.health.v1"
DEAD_LETTER_CE_TYPE: Final = "io.driftline.dead-letter.v1"

UNKNOWN_MODEL: Final = "unknown"
"""The model under which records that name no model are counted."""
REJECTED: Final = "rejected"
"""The cause of an episode of rejected records.

Its times are of the append clock, because unreadable records have no event time.
"""
EVERY_VERSION: Final = "-"
"""The version of an episode that concerns no single version."""


CoverageReason: TypeAlias = Literal[
    "warming_up",
    "no_profile",
    "version_over_limit",
    "model_over_limit",
    "nothing_comparable",
    "routed_by_stale_metadata",
    "feature_not_comparable",
    "series_too_short",
    "prediction_absent",
    "label_prediction_elsewhere",
    "label_not_comparable",
    "label_version_unwatched",
    "label_warming_up",
    "reference_replaced",
    "shadow_not_recorded",
]
"""A reason why something was not compared.  The first six count events."""

CoverageUnit: TypeAlias = Literal["event", "feature", "label", "record"]
COVERAGE_UNITS: Final[dict[CoverageReason, CoverageUnit]] = {
    "warming_up": "event",  # it becomes part of the version's reference
    "no_profile": "event",  # the reference of its version is in another partition
    "version_over_limit": "event",
    "model_over_limit": "event",  # counted by the partition: ``version`` is the model's name
    "nothing_comparable": "event",  # the version's reference has no series
    "routed_by_stale_metadata": "event",
    "feature_not_comparable": "feature",  # a feature of an event whose other features are watched
    "series_too_short": "feature",  # the reference has too few values of it
    "prediction_absent": "feature",  # the reference has predictions, the event has none
    "label_prediction_elsewhere": "label",
    "label_not_comparable": "label",
    "label_version_unwatched": "label",  # its version was evicted
    "label_warming_up": "label",  # its version had no reference yet
    "reference_replaced": "record",  # the update that replaced the reference
    "shadow_not_recorded": "record",  # no reference yet, or too many versions are shadows
}
"""The unit that each reason counts."""


class DriftAlert(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One phase of one episode of drift.

    ``alert_id`` is derived from partition, offset, series and phase, so that consumers recognise
    repeats.  ``onset_offset`` is where the change is estimated to have begun, ``detected_offset``
    the record that raised the suspicion, ``decided_offset`` the record that decided this phase; all
    are offsets of ``partition`` of the event topic.  Where the record is a batch, ``onset_row``,
    ``detected_row`` and ``decided_row`` are the rows of the events in it.  ``effect`` is the
    adjusted population stability index of ``window_events`` fresh events against the reference.

    Commands of people are phases too: ``acknowledged``, ``snoozed`` (until ``until_ms`` of the
    append clock) and ``resolved`` name the ``actor`` and the ``reason``.  Later phases of an
    acknowledged episode carry ``acknowledged_by`` and the time of that command.  ``suppressed`` is
    the number of alerts of the episode that a snooze or a cooldown has suppressed so far.
    ``segment`` (``origin=EWR``) is the part of the traffic that drifts; ``None`` is all traffic.
    For a feature correlation (``relation/a~b``) ``before`` and ``after`` are rank correlations, and
    ``feature`` is null.  For ``odd_values`` ``after`` is the unknown value that repeats, if one
    does.  ``drill`` marks alerts of a synthetic model (`producer.synthetic`), whose drift was
    injected to measure the detection delay.

    ``estimated_before`` and ``estimated_after`` are error rates estimated without labels, from the
    predictions of the reference and of the same fresh events.  ``importance`` is the weight of a
    drifting feature in ``severity``, relative to the most important feature.  ``champion`` is the
    version in service, where it is another one: such an alert asks for no retrain.

    Kinds ``volume`` and ``labels`` are about the traffic: ``effect`` is the logarithm of the ratio
    to the usual value; ``before`` and ``after`` are events a minute (``delay``: hours).  Kind
    ``coverage`` is about events that are not compared with a reference: ``cause`` is the
    `CoverageReason`, ``effect`` their share of the last hour's events, ``window_events`` their
    number.

    A feature correlation that is superseded while its version serves names in ``cause`` the series
    that reports the change from then on.

    An "ongoing" alert with ``recovery_events`` reports that the episode may be ending: this many
    events look like the reference, of about ``recovery_events_needed`` that end it.  0 withdraws an
    earlier report.
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
    onset_row: int = 0
    detected_row: int = 0
    decided_row: int = 0


class HealthEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A problem of driftline's own processes that delays the handling of traffic or alerts.

    Any live worker, or the trainer, publishes it to the alerts topic; it follows from no record of
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


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A rejected record, or a rejected event of a batch.  Its id is its position.

    ``row`` is the row of a batch; ``None`` is the whole record.  ``payload``, cut to a bound, is
    the value of the record; that of a row is its event as JSON, a record of its own.
    ``model`` is the model it is counted under, ``source`` the ``ce_source`` of its producer; empty
    where unknown.
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
    row: int | None = None

    @property
    def dead_letter_id(self) -> str:
        """The position of the record or the row; the same for every repeat."""
        record = f"{self.topic}:{self.partition}:{self.offset}"
        return record if self.row is None else f"{record}:{self.row}"
