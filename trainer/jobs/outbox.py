"""What has to be published: written with the step it tells of, gone when Kafka has it.

A row stays when it is sent, without its value: an id that was once put in is never put in again,
however often a restarted job passes the same step.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import NamedTuple


class OutboundRecord(NamedTuple):
    """A record to publish.  ``kind`` is its ``ce_type``; ``key`` places it and compacts it."""

    id: str
    topic: str
    key: str
    kind: str
    value: bytes


def enqueue(rows: sqlite3.Connection, outbound_records: Iterable[OutboundRecord]) -> None:
    """Put letters in, in their order; those whose id was in before are left out."""
    rows.executemany(
        "INSERT OR IGNORE INTO outbox (id, topic, key, kind, value) VALUES (?, ?, ?, ?, ?)",
        outbound_records,
    )


def unsent_records(rows: sqlite3.Connection, limit: int = 100) -> list[OutboundRecord]:
    """Letters to send, oldest first."""
    found = rows.execute(
        "SELECT id, topic, key, kind, value FROM outbox WHERE sent = 0 ORDER BY number LIMIT ?",
        (limit,),
    ).fetchall()
    return [OutboundRecord(*row) for row in found]


def mark_sent(rows: sqlite3.Connection, outbound_records: Iterable[OutboundRecord]) -> None:
    """Kafka has acknowledged them."""
    rows.executemany(
        "UPDATE outbox SET sent = 1, value = NULL WHERE id = ?",
        [(outbound_record.id,) for outbound_record in outbound_records],
    )
