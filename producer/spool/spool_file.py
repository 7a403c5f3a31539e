"""One file of the spool: a SQLite database of records that one process at a time has locked.

A record's checksum covers its position too, so that damage never yields a record that was not
written there.  The checksum is not a signature.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import sqlite3
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

SUFFIX: Final = ".spool"
VERSION: Final = 1
_MAX_BATCH_BYTES: Final = 4 << 20
_SCHEMA: Final = f"""
    PRAGMA auto_vacuum = FULL;  -- space of removed records returns to the other processes
    BEGIN EXCLUSIVE;
    CREATE TABLE records (
        position INTEGER PRIMARY KEY, record BLOB NOT NULL, checksum INTEGER NOT NULL
    );
    PRAGMA user_version = {VERSION};
    COMMIT;
"""

_LOCK: Final = threading.Lock()
"""Held during each call of SQLite.  A fork waits for it, so that a child never inherits a locked
mutex of SQLite or an open transaction."""
os.register_at_fork(
    before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_LOCK.release
)


class SpooledRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One record for Kafka; its headers are derived from ``value`` and ``source``."""

    topic: str
    key: bytes
    source: str
    value: bytes


class Batch(NamedTuple):
    """The first records of a file in order, how many were damaged, and the last position."""

    records: list[SpooledRecord]
    n_damaged: int
    last_position: int


class SpoolVersionError(Exception):
    """The file has a format that this version of driftline cannot read."""


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(SpooledRecord).decode


@contextlib.contextmanager
def _database_access() -> Iterator[None]:
    """One thread at a time; raises sqlite3.DatabaseError also where an error's text is damaged.

    SQLite puts names of the file into its messages, and Python cannot decode damaged ones.
    """
    with _LOCK:
        try:
            yield
        except UnicodeDecodeError as error:
            damaged = sqlite3.DatabaseError("malformed database schema")
            damaged.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise damaged from error


class SpoolFile:
    """Records in order, in a file that is locked until `close` or the end of the process.

    ``n_own`` is how many records this process wrote and has not removed; ``None`` for the file of
    an ended process.  Each method is one transaction, and may raise sqlite3.Error.
    """

    def __init__(self, path: Path, *, is_own: bool) -> None:
        self.path = path
        self.n_own = 0 if is_own else None
        self._next_position = 1
        uri = f"{path.absolute().as_uri()}?mode=rw"
        with _database_access():
            # SQLite's own lock ends with the process: it shows others that the owner runs.
            self._connection = sqlite3.connect(uri, uri=True, timeout=0, isolation_level=None)
            try:
                self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")
                self._connection.execute("PRAGMA journal_size_limit = 0")
                if is_own:
                    self._connection.executescript(_SCHEMA)
                else:
                    self._connection.executescript("BEGIN EXCLUSIVE; COMMIT")
                    self._check_version()
            except BaseException:
                self._connection.close()
                raise

    @classmethod
    def create(cls, folder: Path) -> SpoolFile:
        """Create a file of this process.

        Raises:
            OSError: as for any file.
        """
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{time.time_ns() // 1_000_000:014d}-{os.getpid()}-{secrets.token_hex(4)}{SUFFIX}"
        path = folder / name
        os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
        try:
            return cls(path, is_own=True)
        except sqlite3.Error:
            path.unlink(missing_ok=True)
            raise

    @classmethod
    def adopt(cls, path: Path) -> SpoolFile | None:
        """Open the file of an ended process; ``None`` if a running process has it.

        Raises:
            SpoolVersionError: another version of driftline wrote the file.
        """
        try:
            return cls(path, is_own=False)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CANTOPEN):
                return None  # locked, or removed meanwhile
            raise

    def _check_version(self) -> None:
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version != VERSION:
            raise SpoolVersionError(f"cannot read version {version} of the spool's format")

    def append(self, records: Sequence[SpooledRecord], max_bytes: int) -> int:
        """Write records in order until the file has ``max_bytes``; return how many."""
        with _database_access():
            (page_bytes,) = self._connection.execute("PRAGMA page_size").fetchone()
            self._connection.execute(f"PRAGMA max_page_count = {max(1, max_bytes // page_bytes)}")
            n = self._insert(records)
        self._next_position += n
        self.n_own = (self.n_own or 0) + n
        return n

    def _insert(self, records: Sequence[SpooledRecord], n_before: int = 0) -> int:
        """Insert all of the records, or as many of the first ones as fit."""
        try:
            with self._connection:
                self._connection.execute("BEGIN")
                for position, record in enumerate(records, self._next_position + n_before):
                    encoded = _encode(record)
                    row = position, encoded, _checksum(position, encoded)
                    self._connection.execute("INSERT INTO records VALUES (?, ?, ?)", row)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                raise
            half = len(records) // 2  # SQLite has rolled back: try less
            n = self._insert(records[:half], n_before) if half else 0
            if n == 0 or n < half:
                return n
            return n + self._insert(records[half:], n_before + half)
        return len(records)

    def first(self) -> Batch | None:
        """Return the first records, about 4 MB of them; ``None`` if the file has none."""
        records: list[SpooledRecord] = []
        n_rows = n_bytes = last_position = 0
        with _database_access():
            for position, encoded, checksum in self._connection.execute(
                "SELECT position, record, checksum FROM records ORDER BY position"
            ):
                n_rows += 1
                record = _decoded(position, encoded, checksum)
                if record is not None and position > last_position:
                    records.append(record)
                    n_bytes += len(encoded)
                last_position = max(position, last_position)
                if n_bytes >= _MAX_BATCH_BYTES:
                    break
        return Batch(records, n_rows - len(records), last_position) if n_rows else None

    def remove(self, batch: Batch) -> None:
        """Remove the records of a batch from the file."""
        if self.n_own is not None:
            self.n_own -= len(batch.records) + batch.n_damaged
        with _database_access():
            self._connection.execute(
                "DELETE FROM records WHERE position <= ?", (batch.last_position,)
            )

    def close(self) -> None:
        """Release the file, so that another process can send what is left."""
        with _database_access():
            self._connection.close()

    def abandon_in_child(self) -> None:
        """Never close the parent's connection in a forked child: SQLite would change its files."""
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._connection))


def _decoded(position: int, encoded: object, checksum: object) -> SpooledRecord | None:
    """Return the record of a row; ``None`` if the row is damaged."""
    if not isinstance(encoded, bytes) or checksum != _checksum(position, encoded):
        return None
    try:
        return _decode(encoded)
    except msgspec.MsgspecError:  # the checksum of another content
        return None


def _checksum(position: int, encoded: bytes) -> int:
    return zlib.crc32(encoded, zlib.crc32(position.to_bytes(8, "big", signed=True)))
