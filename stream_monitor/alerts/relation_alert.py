"""A verdict about a relation, as the alert that goes out, in words."""

from __future__ import annotations

from producer.drill import is_shadow
from stream_monitor.alerts.alert import Place, derived_id
from stream_monitor.alerts.episode import Verdict
from stream_monitor.alerts.wording import moment, ongoing
from stream_monitor.contracts import DriftAlert
from stream_monitor.reference.fixed_point import FIXED_POINT
from stream_monitor.reference.relation import RelationReference
from stream_monitor.windows.distance import shown


def relation_alert(
    place: Place,
    series_name: str,
    relation: RelationReference,
    verdict: Verdict,
    told_by: str | None = None,
) -> DriftAlert:
    """Build the alert of ``verdict``; pure, so that a replay builds the very same one.

    ``told_by`` is the feature whose own episode tells it from now on.
    """
    suspicion = verdict.suspicion
    now = None
    if verdict.n_events:
        now = relation.correlation_of(verdict.total / verdict.n_events / FIXED_POINT)
    episode_id = derived_id(
        place.topic, place.partition, place.model, place.version, series_name, "data",
        suspicion.offset,
    )  # fmt: skip
    return DriftAlert(
        alert_id=derived_id(episode_id, verdict.phase, verdict.offset),
        episode_id=episode_id,
        phase=verdict.phase,
        kind="data",
        severity=verdict.severity or "low",
        model=place.model,
        version=place.version,
        series=series_name,
        feature=None,
        detector=suspicion.detector,
        channel=suspicion.channel,
        direction=suspicion.direction,
        effect=shown(verdict.effect),
        p_value=verdict.p_value,
        window_events=verdict.n_events,
        reference_mean=round(relation.correlation, 6),
        current_mean=None if now is None else round(now, 6),
        cause=None if told_by is None else f"feature/{told_by}",
        explanation=_told(relation, verdict, now, told_by),
        reference=place.origin,
        topic=place.topic,
        partition=place.partition,
        onset_offset=suspicion.onset_offset,
        onset_ms=suspicion.onset_ms,
        detected_offset=suspicion.offset,
        detected_ms=suspicion.time_ms,
        decided_offset=verdict.offset,
        decided_ms=verdict.time_ms,
        drill=is_shadow(place.model),
        clear_events=None if verdict.clear is None else verdict.clear.n_events,
        clear_needed=None if verdict.clear is None else verdict.clear.n_needed or None,
    )


def _told(
    relation: RelationReference, verdict: Verdict, now: float | None, told_by: str | None
) -> str:
    """What depends on what, from how much to how much, since when."""
    names = f"{relation.first} and {relation.second}"
    after = "unknown" if now is None else _two_digits(now)
    moved = f"rank correlation {_two_digits(relation.correlation)} → {after}"
    distance = f"PSI {shown(verdict.effect):.2g}"
    if told_by is not None:
        return (
            f"{names}: reported as drift of {told_by} from now on, because {told_by} itself changed"
        )
    if verdict.phase == "superseded":
        return f"{names}: superseded: its version is idle, or has a new reference ({moved})"
    if verdict.phase == "resolved":
        return f"{names}: resolved"
    if verdict.phase == "recovered":
        return f"{names}: back to their reference, {moved}, {distance}"
    since = f"since {moment(verdict.suspicion.onset_ms)}"
    if verdict.phase == "ongoing":
        return f"{names}: {ongoing(verdict.clear, f'{moved}, {distance}', since)}"
    return f"{names}: {moved}, {distance}, {since}"


def _two_digits(correlation: float) -> str:
    """-0.00 would say nothing that 0.00 does not."""
    return f"{round(correlation, 2) + 0.0:.2f}"
