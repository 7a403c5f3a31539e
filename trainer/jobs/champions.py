"""The champions of each model, current and previous, and the aliases of versions."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final, NamedTuple

from trainer.jobs.database import read_only


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


CHAMPION: Final = "champion"
CHALLENGER: Final = "challenger"
_PROMOTED_OUTCOMES: Final = ("promoted", "rolled_back")


def aliases_of(rows: sqlite3.Connection, model: str) -> dict[str, str]:
    """Return the versions of a model by alias.

    The challenger is that of the last job that has one, unless it was promoted.
    """
    found: dict[str, str] = {}
    champion = champion_of(rows, model)
    if champion is not None:
        found[CHAMPION] = champion.version
    last = rows.execute(
        "SELECT challenger, outcome FROM jobs WHERE model = ? AND challenger IS NOT NULL"
        " ORDER BY rowid DESC LIMIT 1",
        (model,),
    ).fetchone()
    if last is not None and last[1] not in _PROMOTED_OUTCOMES and last[0] != found.get(CHAMPION):
        found[CHALLENGER] = last[0]
    return found


def read_aliases(data_dir: Path, model: str) -> dict[str, str]:
    """Return `aliases_of` a data directory, opened read-only; empty without a trainer's file.

    Raises:
        sqlite3.Error: the trainer's file cannot be read.
    """
    with read_only(data_dir) as rows:
        return {} if rows is None else aliases_of(rows, model)
