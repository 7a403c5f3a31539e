"""Alerts: the one place that makes a `DriftAlert`, from a finding."""

from __future__ import annotations

import msgspec

from producer.synthetic import is_synthetic
from stream_monitor.contracts import DriftAlert, Phase
from stream_monitor.episodes.finding import Finding, derived_id


def alert_of(finding: Finding) -> DriftAlert:
    """Make the alert of a finding; pure, so that a replay makes the same one."""
    source, progress = finding.source, finding.progress
    return DriftAlert(
        alert_id=derived_id(finding.episode_id, finding.phase, finding.decided.offset),
        episode_id=finding.episode_id,
        phase=finding.phase,
        kind=finding.kind,
        severity=finding.severity,
        model=source.model,
        version=source.version,
        series=finding.series,
        feature=finding.feature,
        detector=finding.detector,
        channel=finding.channel,
        direction=finding.direction,
        effect=finding.effect,
        p_value=finding.p_value,
        window_events=finding.window_events,
        before=finding.before,
        after=finding.after,
        cause=finding.cause,
        explanation=finding.explanation,
        reference=source.origin,
        topic=source.topic,
        partition=source.partition,
        onset_offset=finding.onset.offset,
        onset_ms=finding.onset.time_ms,
        detected_offset=finding.detected.offset,
        detected_ms=finding.detected.time_ms,
        decided_offset=finding.decided.offset,
        decided_ms=finding.decided.time_ms,
        segment=finding.segment,
        drill=is_synthetic(source.model) if finding.drill is None else finding.drill,
        estimated_before=finding.estimated_before,
        estimated_after=finding.estimated_after,
        importance=finding.importance,
        recovery_events=None if progress is None else progress.n_events,
        recovery_events_needed=None if progress is None else progress.n_needed or None,
    )


def later_phase(
    alert: DriftAlert, phase: Phase, offset: int, time_ms: int, explanation: str
) -> DriftAlert:
    """The alert of a phase that a command of a person decides at ``offset``.

    ``alert`` is the latest one of the episode; ``time_ms`` is event time.
    """
    return msgspec.structs.replace(
        alert,
        alert_id=derived_id(alert.episode_id, phase, offset),
        phase=phase,
        explanation=explanation,
        decided_offset=offset,
        decided_ms=time_ms,
    )
