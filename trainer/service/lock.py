"""A lock that allows one trainer per data directory."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

LOCK_FILE = "trainer.lock"


class TrainerAlreadyRunning(RuntimeError):  # noqa: N818 - a finding, named for what it says
    """Another trainer uses this data directory."""


@contextlib.contextmanager
def trainer_lock(data_dir: Path) -> Iterator[None]:
    """Lock the data directory; the kernel releases the lock when the process ends.

    Raises:
        TrainerAlreadyRunning: another process has the lock.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / LOCK_FILE).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TrainerAlreadyRunning(f"another trainer is running in {data_dir}") from None
        yield
