"""The construction of alerts: their source, their ids, and the one constructor of `DriftAlert`."""

from __future__ import annotations

import hashlib
from typing import NamedTuple, TypedDict, Unpack

import msgspec

from producer.synthetic import is_synthetic
from stream_monitor.contracts import (
    DetectorName,
    Direction,
    DriftAlert,
    Kind,
    Phase,
    ReferenceOrigin,
    Severity,
)
from stream_monitor.episodes.lifecycle import PhaseDecision
from stream_monitor.statistics.distance import rounded_effect


class AlertSource(NamedTuple):
    """The model version that alerts are about, its partition, and where its reference is from."""

    topic: str
    partition: int
    model: str
    version: str
    origin: ReferenceOrigin = "warm_up"

    def episode_id(self, *key: object) -> str:
        """The id of the episode with ``key``: its series, then what tells it from others."""
        return derived_id(self.topic, self.partition, self.model, self.version, *key)


class EventPosition(NamedTuple):
    """An offset in the partition, and the event time there."""

    offset: int
    time_ms: int


class OptionalFields(TypedDict, total=False):
    """Fields of `DriftAlert` that only some kinds of alerts have."""

    before: float | None
    after: float | None
    cause: str | None
    segment: str | None
    estimated_before: float | None
    estimated_after: float | None
    importance: float | None
    recovery_events: int | None
    recovery_events_needed: int | None


def derived_id(*parts: object) -> str:
    """Derive an id from what identifies a decision, so that a replay derives the same one.

    >>> derived_id("t", 0, 17) == derived_id("t", 0, 17) != derived_id("t", 0, 18)
    True
    """
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()[:32]


def new_alert(
    source: AlertSource,
    series: str,
    episode_id: str,
    *,
    onset: EventPosition,
    detected: EventPosition,
    kind: Kind,
    severity: Severity,
    channel: str,
    direction: Direction,
    effect: float,
    window_events: int,
    explanation: str,
    decided: EventPosition | None = None,
    phase: Phase = "started",
    detector: DetectorName = "rule",
    p_value: float = 0.0,
    feature: str | None = None,
    drill: bool | None = None,
    **optional: Unpack[OptionalFields],
) -> DriftAlert:
    """Build an alert: the one place that does.

    ``decided`` is where its phase was decided, by default where ``detected``.  ``drill`` is by
    default whether the model is synthetic.
    """
    decided = decided or detected
    return DriftAlert(
        alert_id=derived_id(episode_id, phase, decided.offset),
        episode_id=episode_id,
        phase=phase,
        kind=kind,
        severity=severity,
        model=source.model,
        version=source.version,
        series=series,
        feature=feature,
        detector=detector,
        channel=channel,
        direction=direction,
        effect=effect,
        p_value=p_value,
        window_events=window_events,
        explanation=explanation,
        reference=source.origin,
        topic=source.topic,
        partition=source.partition,
        onset_offset=onset.offset,
        onset_ms=onset.time_ms,
        detected_offset=detected.offset,
        detected_ms=detected.time_ms,
        decided_offset=decided.offset,
        decided_ms=decided.time_ms,
        drill=is_synthetic(source.model) if drill is None else drill,
        **optional,
    )


def decision_alert(
    source: AlertSource,
    series: str,
    check: str,
    decision: PhaseDecision,
    *,
    kind: Kind,
    severity: Severity,
    direction: Direction,
    explanation: str,
    feature: str | None = None,
    **optional: Unpack[OptionalFields],
) -> DriftAlert:
    """Build the alert of a phase that an `EpisodeTracker` or a rule decided about a signal."""
    suspicion, clear = decision.suspicion, decision.clear
    if clear is not None:
        optional["recovery_events"] = clear.n_events
        optional["recovery_events_needed"] = clear.n_needed or None
    return new_alert(
        source,
        series,
        source.episode_id(series, check, suspicion.offset),
        onset=EventPosition(suspicion.onset_offset, suspicion.onset_ms),
        detected=EventPosition(suspicion.offset, suspicion.time_ms),
        decided=EventPosition(decision.offset, decision.time_ms),
        phase=decision.phase,
        kind=kind,
        severity=severity,
        detector=suspicion.detector,
        channel=suspicion.channel,
        direction=direction,
        effect=rounded_effect(decision.effect),
        p_value=decision.p_value,
        window_events=decision.n_events,
        explanation=explanation,
        feature=feature,
        **optional,
    )


def later_phase(
    alert: DriftAlert, phase: Phase, offset: int, time_ms: int, explanation: str
) -> DriftAlert:
    """Build the alert of a later phase of an episode; ``alert`` is an earlier one of it.

    The record at ``offset`` decided the phase, at ``time_ms`` of event time.
    """
    return msgspec.structs.replace(
        alert,
        alert_id=derived_id(alert.episode_id, phase, offset),
        phase=phase,
        explanation=explanation,
        decided_offset=offset,
        decided_ms=time_ms,
    )
