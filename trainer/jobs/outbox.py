"""What has to be published: written with the step it tells of, gone when Kafka has it.

A row stays when it is sent, without its value: an id that was once put in is never put in again,
however often a restarted job passes the same step.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import NamedTuple


class Letter(NamedTuple):
    """A record to publish.  ``kind`` is its ``ce_type``; ``key`` places it and compacts it."""

    id: str
    topic: str
    key: str
    kind: str
    value: bytes


def put(rows: sqlite3.Connection, letters: Iterable[Letter]) -> None:
    """Put letters in, in their order; those whose id was in before are left out."""
    rows.executemany(
        "INSERT OR IGNORE INTO outbox (id, topic, key, kind, value) VALUES (?, ?, ?, ?, ?)", letters
    )


def ready(rows: sqlite3.Connection, limit: int = 100) -> list[Letter]:
    """Letters to send, oldest first."""
    found = rows.execute(
        "SELECT id, topic, key, kind, value FROM outbox WHERE sent = 0 ORDER BY number LIMIT ?",
        (limit,),
    ).fetchall()
    return [Letter(*row) for row in found]


def sent(rows: sqlite3.Connection, letters: Iterable[Letter]) -> None:
    """Kafka has acknowledged them."""
    rows.executemany(
        "UPDATE outbox SET sent = 1, value = NULL WHERE id = ?",
        [(letter.id,) for letter in letters],
    )
