"""One trainer at a time in a home."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

FILE = "trainer.lock"


class TrainerRuns(RuntimeError):  # noqa: N818 - a finding, named for what it says
    """Another process works in this home."""


@contextlib.contextmanager
def only_trainer(home: Path) -> Iterator[None]:
    """Hold the home; the kernel lets it go when the process dies, however it does.

    Raises:
        TrainerRuns: somebody holds it.
    """
    home.mkdir(parents=True, exist_ok=True)
    with (home / FILE).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TrainerRuns(f"a trainer runs in {home} already") from None
        yield
