"""Quality episodes by feature in the database, open and ended.

A recorded end stays, so a repeat of an earlier alert reopens nothing.  A signal has at most one
open episode of a cause: where another begins, the alert of the earlier one's end was lost.
"""

from __future__ import annotations

import sqlite3

from stream_monitor.contracts import DriftAlert
from trainer.policy.data_quality_guard import QualityEpisode, quality_episode_of

_COLUMNS = "episode_id, feature, segment, start_ms, end_ms, explanation"


def record_quality_episode(rows: sqlite3.Connection, alert: DriftAlert) -> None:
    """Record the quality episode of an alert, if it is about broken data of one feature."""
    episode = quality_episode_of(alert)
    if episode is None:
        return
    place = (alert.model, alert.version, alert.partition, alert.cause or "")
    rows.execute(
        "UPDATE quality SET end_ms = ?"
        " WHERE (model, version, partition, cause) = (?, ?, ?, ?) AND feature = ?"
        " AND segment IS ? AND end_ms IS NULL AND start_ms < ? AND NOT EXISTS"
        " (SELECT 1 FROM quality WHERE episode_id = ?)",
        (
            episode.start_ms,
            *place,
            episode.feature,
            episode.segment,
            episode.start_ms,
            episode.episode_id,
        ),
    )
    rows.execute(
        f"INSERT INTO quality (model, version, partition, cause, {_COLUMNS})"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (episode_id) DO UPDATE SET end_ms = coalesce(end_ms, excluded.end_ms)",
        (*place, *episode),
    )


def quality_episodes_of(rows: sqlite3.Connection, alert: DriftAlert) -> tuple[QualityEpisode, ...]:
    """Return the quality episodes of the alert's feature, model and version."""
    found = rows.execute(
        f"SELECT {_COLUMNS} FROM quality WHERE model = ? AND version = ? AND feature = ?"
        " ORDER BY start_ms, episode_id",
        (alert.model, alert.version, alert.feature),
    ).fetchall()
    return tuple(QualityEpisode(*row) for row in found)
