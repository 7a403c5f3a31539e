"""Failpoints: named places where a test lets a process die, as a power cut would.

``DRIFTLINE_FAILPOINT=name`` kills the process at the first pass of the place, ``name:3`` at the
third.  Nothing is flushed and no handler runs.  Without the variable a pass costs a call of an
empty function.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from typing import Final

ENVIRONMENT_VARIABLE: Final = "DRIFTLINE_FAILPOINT"
EXIT_CODE: Final = 137
"""That of a process ended by SIGKILL, as a shell tells it."""

FAILPOINTS: Final[dict[str, str]] = {
    "monitor.partition.acquired": "the partition is ours in the store, its state is not read",
    "monitor.batch.read": "records were read, nothing is folded in",
    "monitor.batch.processed": "records are folded in, nothing is written",
    "monitor.dead_letters.acknowledged": "dead letters are on their topic, the offset is below them",
    "monitor.commit.ready": "nothing is sent to the store",
    "monitor.commit.answered": "the store has written, nobody took note",
    "monitor.outbox.taken": "an outbox is committed, nothing of it published",
    "monitor.outbox.published": "entries are out, and still in the outbox",
    "monitor.revoke.started": "a partition is to be given up, the last commit is due",
    "monitor.revoke.committed": "the last commit is done, the partition not released",
    "trainer.alert.received": "an alert was read, nothing is recorded",
    "trainer.alert.decided": "the decision is recorded, nothing is published",
    "trainer.waiting.done": "enough labels were read, not recorded",
    "trainer.reading.done": "the training set was read, not recorded",
    "trainer.fitting.started": "the start of the fit is recorded",
    "trainer.fitting.done": "the challenger is fitted, not recorded",
    "trainer.evaluating.done": "the verdict is known, not recorded",
    "trainer.storing.done": "the artifact is stored, not recorded",
    "trainer.promoting.announced": "the log holds the model update, the champion is the old one",
    "trainer.promoting.recorded": "the champion is recorded, nobody was told",
    "trainer.outbox.published": "events are acknowledged, and still in the outbox",
    "trainer.job.finished": "the job is recorded as done",
    "forwarder.batch.written": "a batch is in the log, its position is not committed",
}


def _disabled(_name: str) -> None:
    """No failpoint is set."""


def parse_failpoint(setting: str) -> Callable[[str], None]:
    """What dies at the place and pass that ``setting`` names.

    >>> parse_failpoint("") is _disabled
    True

    Raises:
        ValueError: there is no such place, or the pass is no positive number.
    """
    if not setting:
        return _disabled
    name, _, count = setting.partition(":")
    if name not in FAILPOINTS:
        raise ValueError(
            f"{ENVIRONMENT_VARIABLE}={setting}: no such place; there are {', '.join(FAILPOINTS)}"
        )
    if count and (not count.isdecimal() or int(count) < 1):
        raise ValueError(f"{ENVIRONMENT_VARIABLE}={setting}: the pass is a number from 1 on")
    due, passes = int(count or 1), itertools.count(1)

    def exit_if_due(here: str) -> None:
        if here == name and next(passes) == due:
            os._exit(EXIT_CODE)

    return exit_if_due


failpoint: Final = parse_failpoint(os.environ.get(ENVIRONMENT_VARIABLE, ""))
"""``failpoint(name)``: the process passes the place ``name``."""
