"""Segment files on disk: one that is written, and those that wait to be sent again."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import NamedTuple

from producer.spool.folder_lock import FolderLock
from producer.spool.segment_format import header


class Segment(NamedTuple):
    """A file that is no longer written.

    ``n_records`` and ``size_bytes`` are what was written to it; ``None`` for one that an earlier
    process left, of which nobody knows.
    """

    path: Path
    lock: FolderLock
    n_records: int | None = None
    size_bytes: int | None = None

    def read(self) -> bytes:
        """Its bytes, as far as they were written to the end.

        Raises:
            OSError: as for any file.
        """
        return self.path.read_bytes()[: self.size_bytes]


class SegmentWriter:
    """Appends to one new segment; ``size_bytes`` is where the next frame begins.

    Nothing is buffered here, so what was appended outlives the process, and a forked child has
    nothing of its parent's to write.

    Raises:
        OSError: the segment cannot be begun; nothing of it is left.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.n_records = 0
        self.size_bytes = 0
        self.is_torn = False
        self._unsynced = False
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        self._handle: int | None = os.open(path, flags, 0o600)
        try:
            self.append(header(), 0)
        except OSError:
            self.close()
            with contextlib.suppress(OSError):
                path.unlink()
            raise

    def append(self, frames: bytes, n_records: int) -> None:
        """Write all of the frames or none.

        Raises:
            OSError: none was written; ``is_torn`` if what was begun could not be cut off again.
        """
        handle = self._open_handle()
        rest = memoryview(frames)
        try:
            while rest:
                rest = rest[os.write(handle, rest) :]
        except OSError:
            self._truncate(handle)
            raise
        self.size_bytes += len(frames)
        self.n_records += n_records
        self._unsynced = True

    def sync(self) -> None:
        """Make what was appended survive a power cut.

        Raises:
            OSError: it may not.
        """
        if self._unsynced:
            self._unsynced = False
            os.fsync(self._open_handle())

    def close(self) -> None:
        """Write no more."""
        handle, self._handle = self._handle, None
        if handle is not None:
            with contextlib.suppress(OSError):
                os.close(handle)

    def _truncate(self, handle: int) -> None:
        try:
            os.ftruncate(handle, self.size_bytes)
        except OSError:
            self.is_torn = True

    def _open_handle(self) -> int:
        if self._handle is None:
            raise ValueError("the segment is closed")
        return self._handle
