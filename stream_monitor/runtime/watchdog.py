"""Ends a worker that stands still with records before it, and says why.

Everything else here runs in one event loop; this looks at it from a thread, for a loop that hangs
cannot end itself.  A supervisor starts the worker again.
"""

from __future__ import annotations

import faulthandler
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import structlog

log = structlog.get_logger(__name__)

CHECK_INTERVAL_S: Final = 1.0
EXIT_CODE: Final = 1


class PartitionProgress(NamedTuple):
    """Where a partition stands, and how many records lie before it."""

    position: int
    lag: int


class StallState(NamedTuple):
    """What was last seen of a worker, and since when it has not changed (monotonic seconds)."""

    seen_s: float
    readings: Mapping[int, PartitionProgress] = {}
    since_s: Mapping[int, float] = {}

    def after(self, now_s: float, readings: Mapping[int, PartitionProgress]) -> StallState:
        """With the next look.  A partition moves when its position does, or nothing is left."""

        def stands(partition: int, reading: PartitionProgress) -> bool:
            before = self.readings.get(partition)
            return before is not None and before.position == reading.position and reading.lag > 0

        since = {
            partition: self.since_s.get(partition, now_s) if stands(partition, reading) else now_s
            for partition, reading in readings.items()
        }
        return StallState(now_s, dict(readings), since)

    def reason(self, now_s: float, stall_timeout_s: float) -> str | None:
        """Why the worker is stuck; ``None`` while it is not.

        >>> seen = StallState(0.0).after(1.0, {3: PartitionProgress(7, 5)}).after(2.0, {3: PartitionProgress(7, 5)})
        >>> seen.reason(9.0, 10.0)
        >>> seen.reason(11.0, 10.0)
        'partition 3 stands at 7 for 10 s, 5 records before it'
        >>> StallState(0.0).reason(11.0, 10.0)
        'the event loop has not turned for 11 s'
        """
        if now_s - self.seen_s >= stall_timeout_s:
            return f"the event loop has not turned for {now_s - self.seen_s:.0f} s"
        for partition, since_s in self.since_s.items():
            if now_s - since_s >= stall_timeout_s:
                at = self.readings[partition]
                return (
                    f"partition {partition} stands at {at.position} for {now_s - since_s:.0f} s, "
                    f"{at.lag} records before it"
                )
        return None


class Watchdog:
    """Ends the process when it is stuck, unless ``blocked_externally`` says that others are to blame."""

    def __init__(self, stall_timeout_s: float, blocked_externally: Callable[[], bool]) -> None:
        self._stall_timeout_s = stall_timeout_s
        self._blocked_externally = blocked_externally
        self._seen = StallState(time.monotonic())
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Watch from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no more."""
        self._over.set()

    def record(self, readings: Mapping[int, PartitionProgress]) -> None:
        """The loop turns, and this is how far it got."""
        self._seen = self._seen.after(time.monotonic(), readings)

    def _watch(self) -> None:
        while not self._over.wait(min(CHECK_INTERVAL_S, self._stall_timeout_s / 4)):
            reason = self._seen.reason(time.monotonic(), self._stall_timeout_s)
            if reason is None:
                continue
            if self._blocked_externally():
                self._seen = StallState(time.monotonic())
                continue
            log.critical("stuck", reason=reason)
            faulthandler.dump_traceback()
            os._exit(EXIT_CODE)
