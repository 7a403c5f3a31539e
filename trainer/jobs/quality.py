"""Quality episodes by feature: what is broken, and what was, as far as alerts told of it.

An end once known stays: a repeat of an earlier alert opens nothing again.
"""

from __future__ import annotations

import sqlite3

from stream_monitor.contracts import DriftAlert
from trainer.decision import QualityEpisode, quality_of

_COLUMNS = "episode_id, feature, segment, start_ms, end_ms, explanation"


def note_quality(rows: sqlite3.Connection, alert: DriftAlert) -> None:
    """Record what an alert tells of broken data; one that tells of none of a feature is left."""
    episode = quality_of(alert)
    if episode is None:
        return
    rows.execute(
        f"INSERT INTO quality (model, version, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
        " ON CONFLICT (episode_id) DO UPDATE SET end_ms = coalesce(end_ms, excluded.end_ms)",
        (alert.model, alert.version, *episode),
    )


def quality_beside(rows: sqlite3.Connection, alert: DriftAlert) -> tuple[QualityEpisode, ...]:
    """The quality episodes of the alert's feature, of the same model and version."""
    found = rows.execute(
        f"SELECT {_COLUMNS} FROM quality WHERE model = ? AND version = ? AND feature = ?"  # noqa: S608
        " ORDER BY start_ms, episode_id",
        (alert.model, alert.version, alert.feature),
    ).fetchall()
    return tuple(QualityEpisode(*row) for row in found)
