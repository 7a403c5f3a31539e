"""The champions of each model, current and previous, in the database."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple


class Champion(NamedTuple):
    """A version that was put into service; ``time_ms`` is event time."""

    model: str
    version: str
    artifact_sha256: str
    time_ms: int
    caused_by: str


_COLUMNS = "model, version, artifact_sha256, time_ms, caused_by"


def set_champion(rows: sqlite3.Connection, champion: Champion) -> None:
    """Record a champion; a repeat with the same cause changes nothing."""
    rows.execute(f"INSERT OR IGNORE INTO champions ({_COLUMNS}) VALUES (?, ?, ?, ?, ?)", champion)


def was_set_champion(rows: sqlite3.Connection, champion: Champion) -> bool:
    """Whether the champion is recorded with this cause."""
    found = rows.execute(
        "SELECT 1 FROM champions WHERE model = ? AND caused_by = ?",
        (champion.model, champion.caused_by),
    ).fetchone()
    return found is not None


def champion_of(rows: sqlite3.Connection, model: str) -> Champion | None:
    """Return the champion of a model; ``None`` if none is recorded."""
    found = rows.execute(
        f"SELECT {_COLUMNS} FROM champions WHERE model = ? ORDER BY number DESC LIMIT 1", (model,)
    ).fetchone()
    return None if found is None else Champion(*found)


def champions(rows: sqlite3.Connection) -> dict[str, str]:
    """Return the version in service of each model that has one."""
    found = rows.execute(
        "SELECT model, version FROM champions WHERE number IN"
        " (SELECT max(number) FROM champions GROUP BY model) ORDER BY model"
    ).fetchall()
    return {model: version for model, version in found}  # noqa: C416 - rows


def previous_champion(rows: sqlite3.Connection, model: str) -> Champion | None:
    """Return the last champion of another version than the current one."""
    current = champion_of(rows, model)
    found = rows.execute(
        f"SELECT {_COLUMNS} FROM champions WHERE model = ? AND version != ?"
        " ORDER BY number DESC LIMIT 1",
        (model, current.version if current else ""),
    ).fetchone()
    return None if found is None else Champion(*found)
