"""A lock that allows one trainer per data directory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

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
