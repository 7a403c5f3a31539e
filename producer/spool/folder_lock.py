"""One process, one subfolder: a claim is a lock on it, and ends with the process that holds it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final

SEGMENT_SUFFIX: Final = ".segment"
_MAX_ATTEMPTS: Final = 5


class FolderLock:
    """A subfolder of the spool that is ours until `release`.

    The lock lies on the subfolder itself, so nothing but segments is ever in it.
    """

    def __init__(self, path: Path, handle: int) -> None:
        self.path = path
        self._handle: int | None = handle

    @classmethod
    def create(cls, folder: Path) -> FolderLock:
        """A subfolder of our own.

        Raises:
            OSError: it cannot be made.
        """
        for _ in range(_MAX_ATTEMPTS):
            path = folder / f"{os.getpid()}-{secrets.token_hex(4)}"
            path.mkdir(parents=True)
            claim = cls.try_acquire(path)
            if claim is not None:
                return claim
        raise OSError(errno.EBUSY, "another process takes every new subfolder", str(folder))

    @classmethod
    def try_acquire(cls, path: Path) -> FolderLock | None:
        """The subfolder, if nobody alive holds it."""
        try:
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(handle), path.stat()):  # not one removed meanwhile
                return cls(path, handle)
        except OSError:
            pass  # held, or gone
        os.close(handle)
        return None

    def segments(self) -> list[Path]:
        """What lies here, oldest first."""
        return sorted(self.path.glob(f"*{SEGMENT_SUFFIX}"))

    def sync(self) -> None:
        """Make the names of new segments survive a power cut."""
        if self._handle is not None:
            os.fsync(self._handle)

    def release(self) -> None:
        """Let go; an empty subfolder is removed first."""
        with contextlib.suppress(OSError):
            self.path.rmdir()
        self.close_handle()

    def close_handle(self) -> None:
        """Close our copy of the lock: in a forked child the lock stays the parent's."""
        handle, self._handle = self._handle, None
        if handle is not None:
            with contextlib.suppress(OSError):
                os.close(handle)


def subfolders(folder: Path) -> Iterator[Path]:
    """Every process's part of a spool, dead or alive."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield Path(entry.path)


def bytes_in(folder: Path) -> int:
    """How much all segments of a spool take."""
    total = 0
    for subfolder in subfolders(folder):
        with contextlib.suppress(OSError), os.scandir(subfolder) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    total += entry.stat().st_size
    return total
