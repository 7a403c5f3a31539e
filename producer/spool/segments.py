"""Segment files of the spool: the open one, and closed ones that wait to be sent."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import NamedTuple

from producer.spool.folder_lock import FolderLock
from producer.spool.segment_format import header


class Segment(NamedTuple):
    """A closed file of records.

    ``n_records`` and ``size_bytes`` were counted while writing; ``None`` for a file of an earlier
    process.
    """

    path: Path
    lock: FolderLock
    n_records: int | None = None
    size_bytes: int | None = None

    def read(self) -> bytes:
        """Read the bytes of complete writes.

        Raises:
            OSError: as for any file.
        """
        return self.path.read_bytes()[: self.size_bytes]


class SegmentWriter:
    """Appends frames to a new segment; ``size_bytes`` is the position of the next frame.

    Nothing is buffered in the process, so appended frames survive its end, and a forked child has
    nothing to write.

    Raises:
        OSError: the segment cannot be created; no file is left.
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
            OSError: nothing was written; ``is_torn`` is set if a partial write remains.
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
        """Sync appended frames to disk, so that they survive a power cut.

        Raises:
            OSError: the sync failed.
        """
        if self._unsynced:
            self._unsynced = False
            os.fsync(self._open_handle())

    def close(self) -> None:
        """Close the file."""
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
