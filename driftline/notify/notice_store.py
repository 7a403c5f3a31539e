"""The SQLite file of the notifier: alerts, positions, and the messages that each target accepted.

One transaction records a batch of alerts with the position after it, so nothing is read twice or
left out.  A message is recorded when its target has accepted it: a crash between both repeats it.
"""

from __future__ import annotations

import contextlib
import sqlite3
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from driftline.notify.alert_history import StoredRecord
from driftline.notify.plan import Sent, TargetState

DATABASE_FILE: Final = "notify.sqlite"
SCHEMA_VERSION: Final = 1
_Value = TypeVar("_Value")

_SCHEMA: Final = """
CREATE TABLE positions (
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    next_offset INTEGER NOT NULL,
    PRIMARY KEY (topic, partition)
) STRICT;
CREATE TABLE records (
    record_id TEXT PRIMARY KEY,
    is_health INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE TABLE members (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    episode_id TEXT NOT NULL UNIQUE,
    subject_id TEXT NOT NULL
) STRICT;
CREATE TABLE subjects (
    subject_id TEXT PRIMARY KEY,
    first_seen_ms INTEGER NOT NULL,
    is_old INTEGER NOT NULL
) STRICT;
CREATE TABLE sent (
    target TEXT NOT NULL,
    subject_id TEXT NOT NULL,
    state BLOB NOT NULL,
    PRIMARY KEY (target, subject_id)
) STRICT;
CREATE TABLE targets (
    target TEXT PRIMARY KEY,
    state BLOB NOT NULL
) STRICT;
CREATE TABLE facts (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT
"""


class NotifierAlreadyRunning(RuntimeError):  # noqa: N818 - a finding, named for what it is
    """Another notifier uses this data directory."""


class FirstSeen(NamedTuple):
    """The first time (wall clock) of a subject; ``is_old``: it had ended before the first start.

    No message is sent about an old subject, unless it opens once more.
    """

    time_ms: int
    is_old: bool


class NoticeStore:
    """The notifier's file in ``data_dir``, created if missing, locked while it is open.

    Raises:
        NotifierAlreadyRunning: another process has opened the file.
        ValueError: the file was written by a newer version of driftline.
        sqlite3.OperationalError: the file cannot be opened or written.
    """

    def __init__(self, data_dir: Path) -> None:
        data_dir.mkdir(parents=True, exist_ok=True)
        file = data_dir / DATABASE_FILE
        self._connection = sqlite3.connect(file, timeout=0, isolation_level=None)
        try:
            # The lock is the kernel's, and ends with the process.
            self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._connection.execute("PRAGMA synchronous = FULL")
            with self.transaction():
                self._migrate(file)
        except sqlite3.OperationalError as error:
            self._connection.close()
            if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                raise NotifierAlreadyRunning(
                    f"another notifier is running in {data_dir}"
                ) from error
            raise
        except BaseException:
            self._connection.close()
            raise

    def _migrate(self, file: Path) -> None:
        found = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if found > SCHEMA_VERSION:
            raise ValueError(
                f"{file} has format {found}; this driftline knows {SCHEMA_VERSION} and older"
            )
        if not found:
            for statement in _SCHEMA.split(";"):
                self._connection.execute(statement)
        self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """A transaction of the block: all or nothing, on disk at its end."""
        self._connection.execute("BEGIN EXCLUSIVE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def close(self) -> None:
        """Close the file and release its lock."""
        self._connection.close()

    def positions(self, topic: str) -> dict[int, int]:
        """The next offset by partition."""
        rows = self._rows("SELECT partition, next_offset FROM positions WHERE topic = ?", topic)
        return dict(rows)

    def set_positions(self, topic: str, positions: Mapping[int, int]) -> None:
        """Record the next offset of each partition."""
        self._connection.executemany(
            "INSERT OR REPLACE INTO positions VALUES (?, ?, ?)",
            [(topic, partition, offset) for partition, offset in positions.items()],
        )

    def records(self) -> list[StoredRecord]:
        """Every record, in the order in which they were added."""
        rows = self._rows("SELECT record_id, is_health, body FROM records ORDER BY rowid")
        return [StoredRecord(name, bool(is_health), body) for name, is_health, body in rows]

    def add_records(self, records: Iterable[StoredRecord]) -> None:
        """Add records; repeats change nothing."""
        self._connection.executemany("INSERT OR IGNORE INTO records VALUES (?, ?, ?)", records)

    def members(self) -> dict[str, str]:
        """The subject of each episode, the earliest first."""
        return dict(self._rows("SELECT episode_id, subject_id FROM members ORDER BY number"))

    def set_members(self, members: Mapping[str, str]) -> None:
        """Record the subject of each episode."""
        self._connection.executemany(
            "INSERT INTO members (episode_id, subject_id) VALUES (?, ?) "
            "ON CONFLICT (episode_id) DO UPDATE SET subject_id = excluded.subject_id",
            members.items(),
        )

    def first_seen(self) -> dict[str, FirstSeen]:
        """Return the time at which each subject was first seen."""
        rows = self._rows("SELECT subject_id, first_seen_ms, is_old FROM subjects")
        return {subject: FirstSeen(time_ms, bool(old)) for subject, time_ms, old in rows}

    def set_first_seen(self, seen: Mapping[str, FirstSeen]) -> None:
        """Record when subjects were first seen."""
        self._connection.executemany(
            "INSERT OR REPLACE INTO subjects VALUES (?, ?, ?)",
            [(subject, *values) for subject, values in seen.items()],
        )

    def sent(self) -> dict[tuple[str, str], Sent]:
        """Return the last message that was sent, by target and subject."""
        rows = self._rows("SELECT target, subject_id, state FROM sent")
        return {(target, subject): _decoded(state, Sent) for target, subject, state in rows}

    def set_sent(self, target: str, subject_id: str, sent: Sent) -> None:
        """Record what a target has accepted."""
        self._connection.execute(
            "INSERT OR REPLACE INTO sent VALUES (?, ?, ?)",
            (target, subject_id, msgspec.json.encode(sent)),
        )

    def target_states(self) -> dict[str, TargetState]:
        """Return the result of the last attempts at each target."""
        rows = self._rows("SELECT target, state FROM targets")
        return {target: _decoded(state, TargetState) for target, state in rows}

    def set_target_state(self, target: str, state: TargetState) -> None:
        """Record how an attempt ended."""
        self._connection.execute(
            "INSERT OR REPLACE INTO targets VALUES (?, ?)", (target, msgspec.json.encode(state))
        )

    def has_caught_up(self) -> bool:
        """Whether the first start has read the topic to its end."""
        return self._fact("caught_up") is not None

    def set_caught_up(self) -> None:
        """Record that the first start has read the topic to its end."""
        self._set_fact("caught_up", "1")

    def routing_since_ms(self, routing: str, now_ms: int) -> int:
        """Return since when (wall clock) targets and routes are unchanged; record a change.

        ``routing`` is a text that differs where they do.
        """
        if self._fact("routing") != routing:
            with self.transaction():
                self._set_fact("routing", routing)
                self._set_fact("routing_since_ms", str(now_ms))
        return int(self._fact("routing_since_ms") or now_ms)

    def notifier_id(self) -> str:
        """The random id of this file, made when it is first asked for."""
        if self._fact("notifier_id") is None:
            with self.transaction():
                self._set_fact("notifier_id", uuid.uuid4().hex)
        return str(self._fact("notifier_id"))

    def _fact(self, name: str) -> str | None:
        rows = self._rows("SELECT value FROM facts WHERE name = ?", name)
        return rows[0][0] if rows else None

    def _set_fact(self, name: str, value: str) -> None:
        self._connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def forget(self, subject_ids: Iterable[str], record_ids: Iterable[str]) -> None:
        """Remove ended subjects with their episodes, records and messages."""
        for subject in subject_ids:
            for table in ("members", "subjects", "sent"):
                self._connection.execute(f"DELETE FROM {table} WHERE subject_id = ?", (subject,))  # noqa: S608 - names of this module
        self._connection.executemany(
            "DELETE FROM records WHERE record_id = ?", [(one,) for one in record_ids]
        )

    def _rows(self, query: str, *values: Any) -> list[Any]:
        return self._connection.execute(query, values).fetchall()


def _decoded(body: bytes, of: type[_Value]) -> _Value:
    return msgspec.json.decode(body, type=of)
