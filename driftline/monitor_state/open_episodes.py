"""Open episodes in the monitor's state, with their progress towards recovery.  Pure.

The state is as recent as the last commit, while an alert on the topic may be older.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from producer.names import version_key
from stream_monitor.core.partition import PartitionMonitor
from stream_monitor.episodes.formatting import joined
from stream_monitor.episodes.phase_messages import acknowledged_message, progress_message


class OpenEpisodeRow(msgspec.Struct, frozen=True, kw_only=True):
    """One open episode.

    ``recovery_events`` events without drift were seen, of about ``recovery_events_needed``.
    ``reported`` is false while a snooze or a cooldown suppresses the episode's alerts.
    """

    episode_id: str
    model: str
    series: str
    kind: str
    severity: str
    onset_ms: int
    explanation: str
    reported: bool
    acknowledged_by: str | None
    acknowledged_ms: int | None
    recovery_events: int | None
    recovery_events_needed: int | None


def open_episode_rows(monitors: Iterable[PartitionMonitor]) -> list[OpenEpisodeRow]:
    """The open episodes, sorted by model, version and onset."""
    rows: list[OpenEpisodeRow] = []
    for monitor in monitors:
        for model in monitor.models.values():
            for episode in model.open_episodes.by_id.values():
                alert = episode.latest
                version = model.versions.get(alert.version)
                clear = None if version is None else version.progress_of(alert)
                rows.append(
                    OpenEpisodeRow(
                        episode_id=alert.episode_id,
                        model=version_key(alert.model, alert.version),
                        series=alert.series,
                        kind=alert.kind,
                        severity=alert.severity,
                        onset_ms=alert.onset_ms,
                        explanation=episode.drift_message,
                        reported=episode.reported,
                        acknowledged_by=episode.acknowledged_by,
                        acknowledged_ms=episode.acknowledged_ms,
                        recovery_events=None if clear is None else clear.n_events,
                        recovery_events_needed=None if clear is None else clear.n_needed,
                    )
                )
    return sorted(rows, key=lambda row: (row.model, row.onset_ms, row.episode_id))


def lines_of(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The open episodes as text under a heading; empty if none is open."""
    heading = ["open episodes"] if rows else []
    return heading + [f"  {row['model']}  {line_of(row)}" for row in rows]


def line_of(row: dict[str, Any]) -> str:
    """An open episode as one line; ``row`` is an `OpenEpisodeRow` as plain data."""
    text = describe_episode(msgspec.convert(row, OpenEpisodeRow))
    return f"{row['episode_id'][:12]}  {row['severity']:<6} {text}"


def describe_episode(row: OpenEpisodeRow) -> str:
    """The sentence of an episode, its progress, who acknowledged it, and its suppression."""
    parts = [row.explanation]
    if row.recovery_events and row.recovery_events_needed:
        parts.append(progress_message(row.recovery_events, row.recovery_events_needed))
    if row.acknowledged_by is not None:
        parts.append(acknowledged_message(row.acknowledged_by, row.acknowledged_ms or 0))
    if not row.reported:
        parts.append("Suppressed: it is snoozed, or within the cooldown after a recovery")
    return joined(*parts)
