"""The SQLite file of the trainer: its schema, transactions, and the trainer's lock.

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

from filelock import FileLock, Timeout

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
    end_ms INTEGER,
    repeated_value REAL
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
CREATE INDEX outbox_waiting ON outbox (number) WHERE sent = 0;
CREATE TABLE deferred (
    episode_id TEXT PRIMARY KEY,
    model TEXT NOT NULL,
    received_ms INTEGER NOT NULL,
    latest_ms INTEGER NOT NULL,
    alert BLOB NOT NULL
) STRICT;
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
) STRICT;
CREATE TABLE topics (
    topic TEXT PRIMARY KEY,
    topic_id TEXT NOT NULL
) STRICT;
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
"""


def _other_format(file: Path, found: int) -> str:
    text = f"{file} has format {found}; this driftline knows {SCHEMA_VERSION}"
    if found > SCHEMA_VERSION:
        return f"{text} and none later: use the driftline that wrote it"
    return f"{text}. Move the file away; `driftline models register` records the version in service"


class Database:
    """The trainer's file in ``data_dir``, created if missing.

    Raises:
        ValueError: the file has another format; the text states how to replace an earlier one.
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
            if found not in (0, SCHEMA_VERSION):
                raise ValueError(_other_format(data_dir / DATABASE_FILE, found))
            for statement in () if found else _SCHEMA.split(";"):
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


@contextlib.contextmanager
def read_only(data_dir: Path) -> Iterator[sqlite3.Connection | None]:
    """Open the trainer's file of a data directory for reading; ``None`` where there is none.

    Raises:
        sqlite3.Error: the trainer's file cannot be read.
    """
    file = data_dir / DATABASE_FILE
    if not file.is_file():
        yield None
        return
    uri = f"{file.resolve().as_uri()}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as rows:
        yield rows


LOCK_FILE = "trainer.lock"


class TrainerAlreadyRunning(RuntimeError):  # noqa: N818 - its name states what was found
    """Another trainer uses this data directory."""


@contextlib.contextmanager
def trainer_lock(data_dir: Path) -> Iterator[None]:
    """Lock the data directory; the kernel releases the lock when the process ends.

    Raises:
        TrainerAlreadyRunning: another process has the lock.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    # Without a fallback: a soft lock would survive the process.
    lock = FileLock(data_dir / LOCK_FILE, fallback_to_soft=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise TrainerAlreadyRunning(f"another trainer is running in {data_dir}") from None
    try:
        yield
    finally:
        lock.release()
