"""A decision about a series, as the alert that goes out."""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple

import msgspec

from producer.drill import is_shadow
from stream_monitor.alerts.estimated import estimated_of
from stream_monitor.alerts.outcome import share_wrong
from stream_monitor.alerts.policy import loss_severity
from stream_monitor.alerts.series import Decision, Series, TrackName
from stream_monitor.alerts.wording import describe, direction_of
from stream_monitor.contracts import ENDED, DriftAlert, Kind, Phase, ReferenceOrigin
from stream_monitor.reference.fixed_point import FIXED_POINT
from stream_monitor.windows.distance import shown

_KIND_OF: Final[dict[TrackName, Kind]] = {
    "data": "data",
    "validity": "quality",
    "unit": "quality",
    "constant": "quality",
    "range": "quality",
    "prediction": "prediction",
    "concept": "concept",
}
_CAUSE_OF: Final[dict[TrackName, str]] = {
    "unit": "unit_change",
    "constant": "constant",
    "range": "odd_values",
}


class Place(NamedTuple):
    """Where a series lives: all its alerts share this."""

    topic: str
    partition: int
    model: str
    version: str
    origin: ReferenceOrigin


def derived_id(*parts: object) -> str:
    """An id that any repeat of the same decision derives again.

    >>> derived_id("t", 0, 17) == derived_id("t", 0, 17) != derived_id("t", 0, 18)
    True
    """
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()[:32]


def later_phase(
    alert: DriftAlert, phase: Phase, offset: int, time_ms: int, explanation: str
) -> DriftAlert:
    """The episode of ``alert`` a phase later, decided at a record and its event time."""
    return msgspec.structs.replace(
        alert,
        alert_id=derived_id(alert.episode_id, phase, offset),
        phase=phase,
        explanation=explanation,
        decided_offset=offset,
        decided_ms=time_ms,
    )


def track_of(alert: DriftAlert) -> TrackName:
    """Which track of its series an alert came from."""
    if alert.kind == "quality":
        named = (track for track, cause in _CAUSE_OF.items() if cause == alert.cause)
        return next(named, "validity")
    return next(track for track, kind in _KIND_OF.items() if kind == alert.kind)


def _name_of(series_name: str, name: str) -> str:
    """What a sentence calls a series: one of several outputs is the prediction's.

    >>> _name_of("prediction/eta", "eta"), _name_of("feature/eta", "eta")
    ('prediction eta', 'eta')
    """
    return f"prediction {name}" if series_name.startswith("prediction/") else name


def alert_of(
    place: Place,
    series_name: str,
    series: Series,
    decision: Decision,
    segment: str | None = None,
) -> DriftAlert:
    """Build the alert of ``decision``; pure, so that a replay builds the very same one."""
    track, verdict = decision
    suspicion, reference = verdict.suspicion, series.reference
    current_mean = None
    if track in ("validity", "range"):  # not about the level
        pass
    elif verdict.n_events and reference.kind == "numeric":
        mean_z = verdict.total / verdict.n_events / FIXED_POINT
        current_mean = reference.centre + reference.scale * mean_z
    elif verdict.n_events and reference.kind == "outcome":
        current_mean = share_wrong(verdict.bins)
    elif verdict.n_events and reference.kind == "boolean":
        current_mean = verdict.bins[-1] / verdict.n_events
    severity = verdict.severity or "low"
    if track == "concept" and current_mean is not None:
        severity = loss_severity(reference.mean or 0.0, current_mean)
    estimated = None if track in ("validity", "unit", "range") else estimated_of(series, verdict)
    meaning = ""
    if estimated is not None and verdict.phase not in ENDED and verdict.clear is None:
        meaning = estimated.words(track, current_mean)
    weighed = track == "data" and series.importance != 1.0
    episode_id = derived_id(
        place.topic, place.partition, place.model, place.version, series_name, track,
        suspicion.offset,
    )  # fmt: skip
    return DriftAlert(
        alert_id=derived_id(episode_id, verdict.phase, verdict.offset),
        episode_id=episode_id,
        phase=verdict.phase,
        kind=_KIND_OF[track],
        severity=severity,
        model=place.model,
        version=place.version,
        series=series_name,
        feature=reference.name if series.main_track == "data" else None,
        detector=suspicion.detector,
        channel=suspicion.channel,
        direction=direction_of(reference, verdict, current_mean),
        effect=shown(verdict.effect),
        p_value=verdict.p_value,
        window_events=verdict.n_events,
        reference_mean=None if track in ("validity", "range") else reference.mean,
        current_mean=current_mean,
        cause=_CAUSE_OF.get(track),
        explanation=("" if segment is None else f"{segment}: ")
        + describe(_name_of(series_name, reference.name), track, reference, verdict, current_mean)
        + meaning,
        reference=place.origin,
        topic=place.topic,
        partition=place.partition,
        onset_offset=suspicion.onset_offset,
        onset_ms=suspicion.onset_ms,
        detected_offset=suspicion.offset,
        detected_ms=suspicion.time_ms,
        decided_offset=verdict.offset,
        decided_ms=verdict.time_ms,
        segment=segment,
        drill=is_shadow(place.model),
        estimated_before=None if estimated is None else round(estimated.before, 6),
        estimated_now=None if estimated is None else round(estimated.now, 6),
        importance=round(series.importance, 6) if weighed else None,
        clear_events=None if verdict.clear is None else verdict.clear.n_events,
        clear_needed=None if verdict.clear is None else verdict.clear.n_needed or None,
    )
