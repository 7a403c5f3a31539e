"""One trainer at a time in a home."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

LOCK_FILE = "trainer.lock"


class TrainerAlreadyRunning(RuntimeError):  # noqa: N818 - a finding, named for what it says
    """Another process works in this home."""


@contextlib.contextmanager
def trainer_lock(data_dir: Path) -> Iterator[None]:
    """Hold the home; the kernel lets it go when the process dies, however it does.

    Raises:
        TrainerAlreadyRunning: somebody holds it.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / LOCK_FILE).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TrainerAlreadyRunning(f"a trainer runs in {data_dir} already") from None
        yield
