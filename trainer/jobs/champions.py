"""Which version of a model serves, and which did before."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple


class Champion(NamedTuple):
    """A version that was put into service, by whom, and when (event time)."""

    model: str
    version: str
    artifact_sha256: str
    time_ms: int
    caused_by: str


_COLUMNS = "model, version, artifact_sha256, time_ms, caused_by"


def set_champion(rows: sqlite3.Connection, champion: Champion) -> None:
    """Put a version into service; a repeat for the same cause changes nothing."""
    rows.execute(f"INSERT OR IGNORE INTO champions ({_COLUMNS}) VALUES (?, ?, ?, ?, ?)", champion)


def was_set_champion(rows: sqlite3.Connection, champion: Champion) -> bool:
    """Whether it was put into service for this cause before."""
    found = rows.execute(
        "SELECT 1 FROM champions WHERE model = ? AND caused_by = ?",
        (champion.model, champion.caused_by),
    ).fetchone()
    return found is not None


def champion_of(rows: sqlite3.Connection, model: str) -> Champion | None:
    """The version that serves; ``None`` where none was ever recorded."""
    found = rows.execute(
        f"SELECT {_COLUMNS} FROM champions WHERE model = ? ORDER BY number DESC LIMIT 1", (model,)
    ).fetchone()
    return None if found is None else Champion(*found)


def previous_champion(rows: sqlite3.Connection, model: str) -> Champion | None:
    """The last other version that served before the one that does."""
    current = champion_of(rows, model)
    found = rows.execute(
        f"SELECT {_COLUMNS} FROM champions WHERE model = ? AND version != ?"
        " ORDER BY number DESC LIMIT 1",
        (model, current.version if current else ""),
    ).fetchone()
    return None if found is None else Champion(*found)


def models_with_champion(rows: sqlite3.Connection) -> list[str]:
    """The models that have a champion."""
    found = rows.execute("SELECT DISTINCT model FROM champions ORDER BY model").fetchall()
    return [row[0] for row in found]
