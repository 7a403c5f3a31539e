"""The SQLite file of the trainer: its schema, its migrations and its transactions.

One transaction records a step of a job, its events, the position on the alerts and the champion;
another one the comparison of stored versions, its position in the event topic and the swap.
After a crash at any moment the file has all of a step or nothing of it.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

DATABASE_FILE: Final = "trainer.sqlite"
SCHEMA_VERSION: Final = 7
BUSY_S: Final = 30.0

_SCHEMA: Final = """
CREATE TABLE jobs (
    job_id TEXT PRIMARY KEY,
    caused_by TEXT NOT NULL UNIQUE,
    model TEXT NOT NULL,
    episode_id TEXT,
    champion TEXT NOT NULL,
    challenger TEXT,
    state TEXT NOT NULL,
    outcome TEXT,
    asked_ms INTEGER NOT NULL,
    finished_ms INTEGER,
    work BLOB NOT NULL
) STRICT;
CREATE INDEX jobs_by_model ON jobs (model, state);
CREATE UNIQUE INDEX one_job_at_a_time ON jobs (model) WHERE state != 'done';
CREATE TABLE champions (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    model TEXT NOT NULL,
    version TEXT NOT NULL,
    artifact_sha256 TEXT NOT NULL,
    time_ms INTEGER NOT NULL,
    caused_by TEXT NOT NULL,
    UNIQUE (model, caused_by)
) STRICT;
CREATE TABLE spans (
    episode_id TEXT PRIMARY KEY,
    model TEXT NOT NULL,
    start_ms INTEGER NOT NULL,
    end_ms INTEGER
) STRICT;
CREATE TABLE positions (
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    next_offset INTEGER NOT NULL,
    PRIMARY KEY (topic, partition)
) STRICT;
CREATE TABLE outbox (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    topic TEXT NOT NULL,
    key TEXT NOT NULL,
    kind TEXT NOT NULL,
    value BLOB,
    sent INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX outbox_waiting ON outbox (number) WHERE sent = 0
"""

_MIGRATIONS: Final[dict[int, str]] = {
    2: """
CREATE TABLE deferred (
    episode_id TEXT PRIMARY KEY,
    model TEXT NOT NULL,
    heard_ms INTEGER NOT NULL,
    latest_ms INTEGER NOT NULL,
    alert BLOB NOT NULL
) STRICT
""",
    3: """
CREATE TABLE quality (
    episode_id TEXT PRIMARY KEY,
    model TEXT NOT NULL,
    version TEXT NOT NULL,
    partition INTEGER NOT NULL,
    cause TEXT NOT NULL,
    feature TEXT NOT NULL,
    segment TEXT,
    start_ms INTEGER NOT NULL,
    end_ms INTEGER,
    explanation TEXT NOT NULL
) STRICT
""",
    4: """
CREATE TABLE topics (
    topic TEXT PRIMARY KEY,
    topic_id TEXT NOT NULL
) STRICT
""",
    5: """
ALTER TABLE deferred RENAME COLUMN heard_ms TO received_ms;
UPDATE jobs SET outcome = 'declined' WHERE outcome = 'refused';
UPDATE jobs SET work = CAST(
    replace(
        replace(CAST(work AS TEXT), '"rule":"beside_quality"', '"rule":"data_quality_open"'),
        '"begun":{', '"attempts":{'
    ) AS BLOB
)
""",
    6: """
CREATE TABLE comparisons (
    model TEXT PRIMARY KEY,
    state BLOB NOT NULL
) STRICT;
CREATE TABLE label_positions (
    model TEXT NOT NULL,
    partition INTEGER NOT NULL,
    next_offset INTEGER NOT NULL,
    reread_offset INTEGER NOT NULL,
    PRIMARY KEY (model, partition)
) STRICT
""",
    7: "ALTER TABLE spans ADD COLUMN repeated_value REAL",
}
"""The statements that migrate to each later format from the one before it."""


class Database:
    """The trainer's file in ``data_dir``, created if missing and migrated if old.

    Raises:
        ValueError: the file was written by a newer version of driftline.
        sqlite3.OperationalError: the file cannot be opened or written.
    """

    def __init__(self, data_dir: Path) -> None:
        data_dir.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(
            data_dir / DATABASE_FILE, timeout=BUSY_S, isolation_level=None
        )
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        with self.transaction() as rows:
            found = rows.execute("PRAGMA user_version").fetchone()[0]
            if found > SCHEMA_VERSION:
                raise ValueError(
                    f"{data_dir / DATABASE_FILE} has format {found}; "
                    f"this driftline knows {SCHEMA_VERSION} and older"
                )
            new = [] if found else _SCHEMA.split(";")
            for number, statements in _MIGRATIONS.items():
                new += statements.split(";") if found < number else []
            for statement in new:
                rows.execute(statement)
            rows.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A transaction of the block: all or nothing, on disk at its end, with no other writer."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    @property
    def rows(self) -> sqlite3.Connection:
        """The connection, for reading."""
        return self._connection

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
