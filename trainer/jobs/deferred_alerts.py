"""Deferred alerts: the trainer decides on them again later, while their episode is open.

A rule declined them for a while, or the challenger of their job may be rejected.  A drift that
lasts through a cooldown causes no further alert, so its alert is kept.  Event time
advances by later alerts of the model, or by the wall clock, whichever is more.
"""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

import msgspec

from stream_monitor.contracts import DriftAlert


class DeferredAlert(NamedTuple):
    """An alert, the wall-clock time of its receipt, and the model's latest event time."""

    alert: DriftAlert
    received_ms: int
    latest_ms: int

    def as_of(self, wall_ms: int) -> DriftAlert:
        """Return the alert with the event time of now as ``decided_ms``."""
        waited_ms = max(0, wall_ms - self.received_ms)
        now_ms = max(self.alert.decided_ms + waited_ms, self.latest_ms)
        return msgspec.structs.replace(self.alert, decided_ms=now_ms)


def defer(rows: sqlite3.Connection, alert: DriftAlert, wall_ms: int) -> None:
    """Defer an alert; it replaces an earlier one of its episode."""
    rows.execute(
        "INSERT INTO deferred (episode_id, model, received_ms, latest_ms, alert)"
        " VALUES (?, ?, ?, ?, ?) ON CONFLICT (episode_id) DO UPDATE SET"
        " received_ms = excluded.received_ms, latest_ms = excluded.latest_ms,"
        " alert = excluded.alert",
        (alert.episode_id, alert.model, wall_ms, alert.decided_ms, msgspec.json.encode(alert)),
    )


def remove_deferred(rows: sqlite3.Connection, episode_id: str) -> None:
    """Remove the deferred alert of an episode that ended or was decided on."""
    rows.execute("DELETE FROM deferred WHERE episode_id = ?", (episode_id,))


def advance_event_time(rows: sqlite3.Connection, model: str, time_ms: int) -> None:
    """Record the latest event time of a model."""
    rows.execute(
        "UPDATE deferred SET latest_ms = ?2 WHERE model = ?1 AND latest_ms < ?2", (model, time_ms)
    )


def deferred_alerts(rows: sqlite3.Connection) -> list[DeferredAlert]:
    """Return all deferred alerts in the order of their receipt."""
    found = rows.execute(
        "SELECT alert, received_ms, latest_ms FROM deferred ORDER BY received_ms, episode_id"
    ).fetchall()
    return [
        DeferredAlert(msgspec.json.decode(row[0], type=DriftAlert), row[1], row[2]) for row in found
    ]
