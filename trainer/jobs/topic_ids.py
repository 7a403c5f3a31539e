"""Which topics the recorded positions belong to: a topic that was created again has another id."""

from __future__ import annotations

import sqlite3


def topic_id_of(rows: sqlite3.Connection, topic: str) -> str | None:
    """The id of the topic that was read last under this name; ``None`` where none is recorded."""
    found = rows.execute("SELECT topic_id FROM topics WHERE topic = ?", (topic,)).fetchone()
    return None if found is None else found[0]


def set_topic_id(rows: sqlite3.Connection, topic: str, topic_id: str) -> None:
    """Record the id of the topic that is read now."""
    rows.execute(
        "INSERT INTO topics VALUES (?, ?)"
        " ON CONFLICT (topic) DO UPDATE SET topic_id = excluded.topic_id",
        (topic, topic_id),
    )


def forget_positions(rows: sqlite3.Connection, topic: str) -> None:
    """Read the topic from its first record: its positions are those of another topic."""
    rows.execute("DELETE FROM positions WHERE topic = ?", (topic,))
