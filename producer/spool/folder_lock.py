"""A lock on one process's subfolder of the spool; it ends with the process."""

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
    """Exclusive use of a subfolder of the spool until `release`.

    The lock is on the subfolder itself, so the subfolder contains only segments.
    """

    def __init__(self, path: Path, handle: int) -> None:
        self.path = path
        self._handle: int | None = handle

    @classmethod
    def create(cls, folder: Path) -> FolderLock:
        """Create a subfolder and lock it.

        Raises:
            OSError: the subfolder cannot be created.
        """
        for _ in range(_MAX_ATTEMPTS):
            path = folder / f"{os.getpid()}-{secrets.token_hex(4)}"
            path.mkdir(parents=True)
            lock = cls.try_acquire(path)
            if lock is not None:
                return lock
        raise OSError(errno.EBUSY, "another process locks every new subfolder", str(folder))

    @classmethod
    def try_acquire(cls, path: Path) -> FolderLock | None:
        """Lock a subfolder; ``None`` if a running process has the lock."""
        try:
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(
                os.fstat(handle), path.stat()
            ):  # the folder was not removed meanwhile
                return cls(path, handle)
        except OSError:
            pass  # locked, or removed
        os.close(handle)
        return None

    def segments(self) -> list[Path]:
        """The segments of the subfolder, oldest first."""
        return sorted(self.path.glob(f"*{SEGMENT_SUFFIX}"))

    def sync(self) -> None:
        """Sync the subfolder, so that new segments survive a power cut."""
        if self._handle is not None:
            os.fsync(self._handle)

    def release(self) -> None:
        """Release the lock; remove the subfolder first if it is empty."""
        with contextlib.suppress(OSError):
            self.path.rmdir()
        self.close_handle()

    def close_handle(self) -> None:
        """Close the handle; in a forked child this leaves the parent's lock in place."""
        handle, self._handle = self._handle, None
        if handle is not None:
            with contextlib.suppress(OSError):
                os.close(handle)


def subfolders(folder: Path) -> Iterator[Path]:
    """Yield the subfolder of every process, running or ended."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield Path(entry.path)


def bytes_in(folder: Path) -> int:
    """Return the size of all segments of a spool in bytes."""
    total = 0
    for subfolder in subfolders(folder):
        with contextlib.suppress(OSError), os.scandir(subfolder) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    total += entry.stat().st_size
    return total
