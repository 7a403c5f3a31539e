"""Alerts that were refused for a while: decided on again when that while is over.

A drift that persists through a cooldown tells nothing new, so nobody would hear of it again.  It
is kept with how far event time has come since: what a later alert of the model says, or what the
clock on the wall has gone on by, whichever is more.
"""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

import msgspec

from stream_monitor.contracts import DriftAlert


class DeferredAlert(NamedTuple):
    """An alert received at ``received_ms`` of the wall clock; ``latest_ms`` is event time."""

    alert: DriftAlert
    received_ms: int
    latest_ms: int

    def as_of(self, wall_ms: int) -> DriftAlert:
        """The alert as it would be told now: the same, later."""
        waited_ms = max(0, wall_ms - self.received_ms)
        now_ms = max(self.alert.decided_ms + waited_ms, self.latest_ms)
        return msgspec.structs.replace(self.alert, decided_ms=now_ms)


def defer(rows: sqlite3.Connection, alert: DriftAlert, wall_ms: int) -> None:
    """Keep the latest alert of an episode."""
    rows.execute(
        "INSERT INTO deferred (episode_id, model, received_ms, latest_ms, alert)"
        " VALUES (?, ?, ?, ?, ?) ON CONFLICT (episode_id) DO UPDATE SET"
        " received_ms = excluded.received_ms, latest_ms = excluded.latest_ms,"
        " alert = excluded.alert",
        (alert.episode_id, alert.model, wall_ms, alert.decided_ms, msgspec.json.encode(alert)),
    )


def remove_deferred(rows: sqlite3.Connection, episode_id: str) -> None:
    """The episode is over, or was decided on."""
    rows.execute("DELETE FROM deferred WHERE episode_id = ?", (episode_id,))


def advance_event_time(rows: sqlite3.Connection, model: str, time_ms: int) -> None:
    """Event time of a model has come this far."""
    rows.execute(
        "UPDATE deferred SET latest_ms = ?2 WHERE model = ?1 AND latest_ms < ?2", (model, time_ms)
    )


def deferred_alerts(rows: sqlite3.Connection) -> list[DeferredAlert]:
    """All that wait, in the order in which they were heard."""
    found = rows.execute(
        "SELECT alert, received_ms, latest_ms FROM deferred ORDER BY received_ms, episode_id"
    ).fetchall()
    return [
        DeferredAlert(msgspec.json.decode(row[0], type=DriftAlert), row[1], row[2]) for row in found
    ]
