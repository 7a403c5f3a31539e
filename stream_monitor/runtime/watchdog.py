"""Ends a worker that has records to process and makes no progress, and logs the reason.

It runs in its own thread, because an event loop that hangs cannot end itself.  A supervisor is
expected to start the worker again.
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
    """The position of a partition, and the number of records behind it."""

    position: int
    lag: int


class StallState(NamedTuple):
    """The last readings of a worker, and the time since which each partition has not advanced.

    ``seen_s`` and ``since_s`` are monotonic seconds.
    """

    seen_s: float
    readings: Mapping[int, PartitionProgress] = {}
    since_s: Mapping[int, float] = {}

    def after(self, now_s: float, readings: Mapping[int, PartitionProgress]) -> StallState:
        """The state after a reading.  A partition stalls if it stays while its lag is not 0."""

        def stands(partition: int, reading: PartitionProgress) -> bool:
            before = self.readings.get(partition)
            return before is not None and before.position == reading.position and reading.lag > 0

        since = {
            partition: self.since_s.get(partition, now_s) if stands(partition, reading) else now_s
            for partition, reading in readings.items()
        }
        return StallState(now_s, dict(readings), since)

    def reason(self, now_s: float, stall_timeout_s: float) -> str | None:
        """Why the worker has stalled; ``None`` while it has not.

        >>> reading = {3: PartitionProgress(position=7, lag=5)}
        >>> seen = StallState(0.0).after(1.0, reading).after(2.0, reading)
        >>> seen.reason(9.0, 10.0)
        >>> seen.reason(11.0, 10.0)
        'partition 3 has stayed at offset 7 for 10 s, with 5 records to read'
        >>> StallState(0.0).reason(11.0, 10.0)
        'the event loop has not run for 11 s'
        """
        if now_s - self.seen_s >= stall_timeout_s:
            return f"the event loop has not run for {now_s - self.seen_s:.0f} s"
        for partition, since_s in self.since_s.items():
            if now_s - since_s >= stall_timeout_s:
                at = self.readings[partition]
                return (
                    f"partition {partition} has stayed at offset {at.position} for "
                    f"{now_s - since_s:.0f} s, with {at.lag} records to read"
                )
        return None


class Watchdog:
    """Ends the process when it stalls, unless ``blocked_externally`` (Kafka or the store)."""

    def __init__(self, stall_timeout_s: float, blocked_externally: Callable[[], bool]) -> None:
        self._stall_timeout_s = stall_timeout_s
        self._blocked_externally = blocked_externally
        self._seen = StallState(time.monotonic())
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Start the watchdog thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the watchdog thread."""
        self._over.set()

    def record(self, readings: Mapping[int, PartitionProgress]) -> None:
        """Record the progress of the partitions; the event loop calls it."""
        self._seen = self._seen.after(time.monotonic(), readings)

    def _watch(self) -> None:
        while not self._over.wait(min(CHECK_INTERVAL_S, self._stall_timeout_s / 4)):
            reason = self._seen.reason(time.monotonic(), self._stall_timeout_s)
            if reason is None:
                continue
            if self._blocked_externally():
                self._seen = StallState(time.monotonic())
                continue
            log.critical("worker stalled", reason=reason)
            faulthandler.dump_traceback()
            os._exit(EXIT_CODE)
