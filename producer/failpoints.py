"""Failpoints: named places in the code where a test ends the process as a power cut would.

``DRIFTLINE_FAILPOINT=name`` ends the process at the first pass of that place, ``name:3`` at the
third.  Nothing is flushed and no exit handler runs.  Without the variable each pass calls an empty
function.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from typing import Final

ENVIRONMENT_VARIABLE: Final = "DRIFTLINE_FAILPOINT"
EXIT_CODE: Final = 137
"""The exit code that a shell reports for a process ended by SIGKILL."""

FAILPOINTS: Final[dict[str, str]] = {
    "monitor.partition.acquired": "the store has the new owner, the state is not read",
    "monitor.batch.read": "records were read, nothing is applied",
    "monitor.batch.processed": "records are applied, nothing is written",
    "monitor.dead_letters.acknowledged": "dead letters are acknowledged, the offset is below them",
    "monitor.commit.ready": "nothing is sent to the store",
    "monitor.commit.answered": "the store has written, its reply is not handled",
    "monitor.outbox.taken": "an outbox is committed, nothing of it published",
    "monitor.outbox.published": "entries are published, and still in the outbox",
    "monitor.revoke.started": "a partition is to be released, the last commit is due",
    "monitor.revoke.committed": "the last commit is done, the partition not released",
    "trainer.alert.received": "an alert was read, nothing is recorded",
    "trainer.alert.decided": "the decision is recorded, nothing is published",
    "trainer.labels.scored": "stored versions are scored on labelled events, not recorded",
    "trainer.labels.recorded": "the comparison and its position are recorded, nothing is published",
    "trainer.waiting.done": "enough labels were read, not recorded",
    "trainer.reading.done": "the training set was read, not recorded",
    "trainer.fitting.started": "the start of the fit is recorded",
    "trainer.fitting.done": "the challenger is fitted, not recorded",
    "trainer.evaluating.done": "the gate has decided, not recorded",
    "trainer.refitting.started": "before the chosen window is fitted again on all rows",
    "trainer.refitting.done": "the model fitted again is not recorded",
    "trainer.storing.done": "the artifact is stored, not recorded",
    "trainer.promoting.announced": "the model update is acknowledged, the champion is the old one",
    "trainer.promoting.recorded": "the champion is recorded, nothing is published",
    "trainer.outbox.published": "events are acknowledged, and still in the outbox",
    "trainer.job.finished": "the job is recorded as done",
    "forwarder.batch.written": "a batch is in the event topic, its position is not committed",
}


def _disabled(_name: str) -> None:
    """No failpoint is set."""


def parse_failpoint(setting: str) -> Callable[[str], None]:
    """Return the function that ends the process at the place and pass that ``setting`` names.

    >>> parse_failpoint("") is _disabled
    True

    Raises:
        ValueError: there is no such place, or the pass is not a positive integer.
    """
    if not setting:
        return _disabled
    name, _, count = setting.partition(":")
    if name not in FAILPOINTS:
        raise ValueError(
            f"{ENVIRONMENT_VARIABLE}={setting}: no such failpoint; "
            f"the failpoints are {', '.join(FAILPOINTS)}"
        )
    if count and (not count.isdecimal() or int(count) < 1):
        raise ValueError(f"{ENVIRONMENT_VARIABLE}={setting}: the pass must be an integer from 1 on")
    due, passes = int(count or 1), itertools.count(1)

    def exit_if_due(here: str) -> None:
        if here == name and next(passes) == due:
            os._exit(EXIT_CODE)

    return exit_if_due


failpoint: Final = parse_failpoint(os.environ.get(ENVIRONMENT_VARIABLE, ""))
"""``failpoint(name)``: call it where the process passes the place ``name``."""
