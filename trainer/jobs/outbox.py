"""The outbox: records to publish, written in the transaction of the step that they report.

A sent row stays without its value, so that a restarted job does not publish the same id again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import NamedTuple


class OutboundRecord(NamedTuple):
    """A record to publish.  ``kind`` is its ``ce_type``; ``key`` is the key of the Kafka record."""

    id: str
    topic: str
    key: str
    kind: str
    value: bytes


def enqueue(rows: sqlite3.Connection, outbound_records: Iterable[OutboundRecord]) -> None:
    """Add records in their order; an id that was added before is ignored."""
    rows.executemany(
        "INSERT OR IGNORE INTO outbox (id, topic, key, kind, value) VALUES (?, ?, ?, ?, ?)",
        outbound_records,
    )


def unsent_records(rows: sqlite3.Connection, limit: int = 100) -> list[OutboundRecord]:
    """Return records to send, oldest first."""
    found = rows.execute(
        "SELECT id, topic, key, kind, value FROM outbox WHERE sent = 0 ORDER BY number LIMIT ?",
        (limit,),
    ).fetchall()
    return [OutboundRecord(*row) for row in found]


def mark_sent(rows: sqlite3.Connection, outbound_records: Iterable[OutboundRecord]) -> None:
    """Mark records that Kafka acknowledged."""
    rows.executemany(
        "UPDATE outbox SET sent = 1, value = NULL WHERE id = ?",
        [(outbound_record.id,) for outbound_record in outbound_records],
    )
