"""The files of the spool: writes records up to a size limit and returns the oldest segment."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from producer.spool.folder_lock import SEGMENT_SUFFIX, FolderLock, bytes_in, subfolders
from producer.spool.segment_format import SpooledRecord, frame
from producer.spool.segments import Segment, SegmentWriter

SYNC_INTERVAL_S: Final = 0.1
"""Time between two syncs to disk, and between two measurements of the whole folder's size."""
_SCAN_INTERVAL_S: Final = 10.0
"""Time between two searches for files of ended processes."""
_MAX_SEGMENT_BYTES: Final = 4 << 20
_SEGMENTS_AT_LEAST: Final = 8


class SpoolResult(NamedTuple):
    """How many records were written, exceeded the size limit, or met a disk error."""

    spooled: int
    full: int = 0
    failed: int = 0
    error: str = ""


class DiskSpool:
    """Segments of this process in a subfolder of its own, and segments of ended processes.

    ``max_bytes`` limits the whole folder.  Its size is measured every `SYNC_INTERVAL_S`, so other
    processes may exceed the limit in between.  The folder should be on a local disk.  The
    constructor does no I/O.  All methods are for one thread, and none raises OSError.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder, self._max_bytes = folder, max_bytes
        self._segment_bytes = min(_MAX_SEGMENT_BYTES, max_bytes // _SEGMENTS_AT_LEAST)
        self._lock: FolderLock | None = None
        self._orphan_locks: list[FolderLock] = []
        self._writer: SegmentWriter | None = None
        self._waiting: list[Segment] = []
        self._sequence = itertools.count()
        self._used_bytes = 0
        self._measured_s = self._synced_s = self._scanned_s = float("-inf")

    def write(self, records: Sequence[SpooledRecord], now_s: float) -> SpoolResult:
        """Write records in order until the size limit."""
        done = 0
        try:
            if now_s - self._measured_s >= SYNC_INTERVAL_S:
                self._measured_s, self._used_bytes = now_s, bytes_in(self._folder)
            while done < len(records):
                n = self._append(records[done:])
                if n == 0:
                    return SpoolResult(done, full=len(records) - done)
                done += n
        except OSError as error:
            return SpoolResult(done, failed=len(records) - done, error=str(error))
        return SpoolResult(done)

    def _append(self, records: Sequence[SpooledRecord]) -> int:
        """Write as many records as fit into the open segment; return how many."""
        if self._used_bytes >= self._max_bytes:
            return 0
        writer = self._writer or self._begin_segment()
        frames, n = bytearray(), 0
        for record in records:
            one = frame(record, writer.size_bytes + len(frames))
            if self._used_bytes + len(frames) + len(one) > self._max_bytes:
                break
            frames += one
            n += 1
            if writer.size_bytes + len(frames) >= self._segment_bytes:
                break
        try:
            writer.append(bytes(frames), n)
        finally:
            if writer.is_torn or writer.size_bytes >= self._segment_bytes:
                self._close_segment()
        self._used_bytes += len(frames)
        return n

    def _begin_segment(self) -> SegmentWriter:
        if self._lock is None:
            self._lock = FolderLock.create(self._folder)
        name = f"{time.time_ns() // 1_000_000:014d}-{next(self._sequence):08d}{SEGMENT_SUFFIX}"
        self._writer = SegmentWriter(self._lock.path / name)
        self._used_bytes += self._writer.size_bytes
        self._lock.sync()
        return self._writer

    def _close_segment(self) -> None:
        """Close the open segment, so that it can be sent."""
        writer, self._writer = self._writer, None
        if writer is None or self._lock is None:
            return
        with contextlib.suppress(OSError):  # the resender counts a damaged segment
            writer.sync()
        writer.close()
        segment = Segment(writer.path, self._lock, writer.n_records, writer.size_bytes)
        self._waiting.append(segment)
        if writer.n_records == 0:
            self.remove(segment)

    def maintain(self, now_s: float) -> str:
        """Sync and adopt orphaned folders when due; return an error text, or an empty one."""
        if now_s - self._scanned_s >= _SCAN_INTERVAL_S:
            self._scanned_s = now_s
            self._adopt_orphans()
        if self._writer is not None and now_s - self._synced_s >= SYNC_INTERVAL_S:
            self._synced_s = now_s
            try:
                self._writer.sync()
            except OSError as error:
                return str(error)
        return ""

    def _adopt_orphans(self) -> None:
        held = {lock.path for lock in (self._lock, *self._orphan_locks) if lock is not None}
        for path in subfolders(self._folder):
            lock = None if path in held else FolderLock.try_acquire(path)
            if lock is None:
                continue
            found = [Segment(segment, lock) for segment in lock.segments()]
            if found:
                self._orphan_locks.append(lock)
                self._waiting += found
            else:
                lock.release()

    def oldest(self) -> Segment | None:
        """Return the oldest segment to send; it stays here until `remove`."""
        if not self._waiting and self._writer is not None and self._writer.n_records:
            self._close_segment()
        return min(self._waiting, key=lambda segment: segment.path.name, default=None)

    def remove(self, segment: Segment) -> None:
        """Delete a segment whose records are all sent or counted as lost."""
        with contextlib.suppress(OSError):
            size_bytes = segment.path.stat().st_size
            segment.path.unlink()
            self._used_bytes -= size_bytes
        self.skip(segment)

    def skip(self, segment: Segment) -> None:
        """Keep the file, and never return the segment again."""
        self._waiting.remove(segment)
        lock = segment.lock
        if lock in self._orphan_locks and all(one.lock is not lock for one in self._waiting):
            self._orphan_locks.remove(lock)
            lock.release()

    def close(self) -> None:
        """Release the folders, so that another process can send what is left."""
        self._close_segment()
        for lock in (self._lock, *self._orphan_locks):
            if lock is not None:
                lock.release()
        self._lock, self._orphan_locks, self._waiting = None, [], []

    def close_in_child(self) -> None:
        """Close the parent's file handles in a forked child; change nothing on disk."""
        if self._writer is not None:
            self._writer.close()
        for lock in (self._lock, *self._orphan_locks):
            if lock is not None:
                lock.close_handle()
