"""The spool as the sender uses it: to disk while Kafka is away, to Kafka when it is back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from producer.counters import LoggerState
from producer.spool.disk_spool import DiskSpool, SpoolResult
from producer.spool.resender import Send, SpoolResender
from producer.spool.spool_file import SpooledRecord

_BATCH: Final = 500


class Overflow:
    """Spools records, sends them later, and counts the result of each.

    Only the sender's thread calls it, except `close_in_child`.  File I/O blocks that thread, never
    a caller of the logger.
    """

    def __init__(
        self, spool: DiskSpool, state: LoggerState, send: Send, warn: Callable[[str], None]
    ) -> None:
        self._spool, self._state, self._warn = spool, state, warn
        self._resender = SpoolResender(spool, state, send)
        self._unwritten: list[SpooledRecord] = []

    def add(self, record: SpooledRecord) -> None:
        """Take a record for the next write; it is in flight until then."""
        self._unwritten.append(record)
        if len(self._unwritten) >= _BATCH:
            self._write()

    def maintain(self, now_s: float, free_slots: int) -> None:
        """Write, adopt orphans and resend at most ``free_slots`` records, each when due."""
        self._write()
        for problem in (self._spool.maintain(now_s), self._resender.run(now_s, free_slots)):
            if problem:
                self._warn(f"spool: {problem}")

    def close(self) -> None:
        """Write the last records and leave the spool to the next process."""
        self._write()
        self._spool.close()

    def close_in_child(self) -> None:
        """Leave the parent's files alone in a forked child."""
        self._spool.close_in_child()

    def _write(self) -> None:
        if not self._unwritten:
            return
        records, self._unwritten = self._unwritten, []
        try:
            result = self._spool.write(records)
        except Exception as error:  # noqa: BLE001 - the counts must add up after any error
            result = SpoolResult(0, failed=len(records), error=repr(error))
        self._state.count_spooled(result.spooled)
        for reason, n in (("spool_full", result.full), ("spool_failed", result.failed)):
            if n:
                lost = self._state.count_dropped(reason, n)
                self._warn(f"{lost} events lost ({reason}) {result.error}".rstrip())
