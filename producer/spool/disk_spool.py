"""The folder of the spool: writes records up to a size limit and finds the oldest file."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from producer.spool.spool_file import SUFFIX, SpooledRecord, SpoolFile, SpoolVersionError

_SCAN_INTERVAL_S: Final = 10.0
"""Time between two searches for files of ended processes."""
_MIN_FILE_BYTES: Final = 16 << 10
"""The size of a file with one short record."""


class SpoolResult(NamedTuple):
    """The number of records written, over the size limit, and lost to disk errors."""

    spooled: int
    full: int = 0
    failed: int = 0
    error: str = ""


class DiskSpool:
    """The spool file of this process, and the orphaned spool files that it sends.

    ``max_bytes`` limits the whole folder, which should be on a local disk; SQLite's journal of one
    transaction may exceed it for a moment.  A file that SQLite cannot read is renamed to
    ``NAME.corrupt`` and stays.  The constructor does no I/O.  All methods are for one thread, and
    none raises OSError or sqlite3.Error.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder, self._max_bytes = folder, max_bytes
        self._own: SpoolFile | None = None
        self._waiting: list[SpoolFile] = []
        self._skipped: set[Path] = set()
        self._scanned_s = float("-inf")

    def write(self, records: Sequence[SpooledRecord]) -> SpoolResult:
        """Write records in order until the size limit."""
        try:
            if self._own is None:
                if bytes_in(self._folder) + _MIN_FILE_BYTES > self._max_bytes:
                    return SpoolResult(0, full=len(records))
                self._own = SpoolFile.create(self._folder)
                self._waiting.append(self._own)
            others_bytes = bytes_in(self._folder) - self._own.path.stat().st_size
            n = self._own.append(records, self._max_bytes - others_bytes)
        except (OSError, sqlite3.Error) as error:
            if self._own is not None and is_corrupt(error):
                self._own = None  # it waits to be sent; the next record gets a new file
            return SpoolResult(0, failed=len(records), error=str(error))
        return SpoolResult(n, full=len(records) - n)

    def maintain(self, now_s: float) -> str:
        """Adopt orphaned spool files when due; return an error text, or an empty one."""
        if now_s - self._scanned_s < _SCAN_INTERVAL_S:
            return ""
        self._scanned_s = now_s
        problem = ""
        known = self._skipped | {file.path for file in self._waiting}
        for path, size_bytes in _files(self._folder):
            # An empty file was just created: its owner has not locked it yet.
            if path.suffix != SUFFIX or path in known or size_bytes == 0:
                continue
            try:
                file = SpoolFile.adopt(path)
            except (sqlite3.Error, SpoolVersionError) as error:
                self._skipped.add(path)
                problem = f"{_set_aside(path, error)}: {error}"
            else:
                self._waiting += [] if file is None else [file]
        return problem

    def oldest(self) -> SpoolFile | None:
        """Return the file to send first, without removing it; see `remove` and `skip`."""
        return min(self._waiting, key=lambda file: file.path.name, default=None)

    def remove(self, file: SpoolFile) -> None:
        """Delete a file whose records are all sent or counted as lost."""
        with contextlib.suppress(OSError):
            file.path.unlink()  # before the lock is released, so that no other process adopts it
        self._release(file)

    def skip(self, file: SpoolFile, error: Exception) -> Path:
        """Exclude a file that cannot be read, without deleting it; return its name."""
        path = _set_aside(file.path, error)
        self._skipped.add(path)
        self._release(file)
        return path

    def close(self) -> None:
        """Release the files, so that another process can send what is left."""
        for file in list(self._waiting):
            self._release(file)

    def close_in_child(self) -> None:
        """Leave the parent's files alone in a forked child."""
        for file in self._waiting:
            file.abandon_in_child()

    def _release(self, file: SpoolFile) -> None:
        self._waiting.remove(file)
        if file is self._own:
            self._own = None
        with contextlib.suppress(sqlite3.Error):
            file.close()


def is_corrupt(error: Exception) -> bool:
    """Whether an error means that a file is damaged, not that it is temporarily inaccessible."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def bytes_in(folder: Path) -> int:
    """Return the size of all files of a spool in bytes."""
    return sum(size_bytes for _, size_bytes in _files(folder))


def _set_aside(path: Path, error: Exception) -> Path:
    """Rename a corrupt file, so that no process tries it again; return its name."""
    if not is_corrupt(error):
        return path
    aside = path.with_name(f"{path.name}.corrupt")
    with contextlib.suppress(OSError):
        path.rename(aside)
    return aside


def _files(folder: Path) -> list[tuple[Path, int]]:
    """The files of a spool with their sizes: databases, journals, corrupt ones."""
    found = []
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):  # removed meanwhile
                if SUFFIX in entry.name and entry.is_file(follow_symlinks=False):
                    found.append((Path(entry.path), entry.stat().st_size))
    return found
