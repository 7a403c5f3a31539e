"""Aliases of versions: ``champion`` is in service, ``challenger`` was compared with it last."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Final

from trainer.jobs.champions import champion_of
from trainer.jobs.database import DATABASE_FILE

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
    file = data_dir / DATABASE_FILE
    if not file.is_file():
        return {}
    with contextlib.closing(
        sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)
    ) as rows:
        return aliases_of(rows, model)
