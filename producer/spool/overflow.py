"""What Kafka does not take now: to disk, and from there to Kafka when it takes again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from producer.counters import Tally
from producer.spool.disk_spool import DiskSpool, Kept
from producer.spool.replay import Replay, Send
from producer.spool.segment_format import SpooledRecord

_BATCH: Final = 500


class Overflow:
    """The spool as the delivery thread sees it; counts what becomes of each record.

    For that thread only, except `forget`.  Writing and reading files blocks it, never a caller of
    the logger.
    """

    def __init__(
        self, spool: DiskSpool, tally: Tally, send: Send, complain: Callable[[str], None]
    ) -> None:
        self._spool, self._tally, self._complain = spool, tally, complain
        self._replay = Replay(spool, tally, send)
        self._unwritten: list[SpooledRecord] = []

    def add(self, record: SpooledRecord, now_s: float) -> None:
        """Keep a record; it is in flight until it is written, which is soon."""
        self._unwritten.append(record)
        if len(self._unwritten) >= _BATCH:
            self._write(now_s)

    def tend(self, now_s: float, room: int) -> None:
        """Write, sync, look around, and send again at most ``room`` records, as each is due."""
        self._write(now_s)
        for trouble in (self._spool.tend(now_s), self._replay.run(now_s, room)):
            if trouble:
                self._complain(f"spool: {trouble}")

    def close(self, now_s: float) -> None:
        """Write the last, and leave it all to the next process."""
        self._write(now_s)
        self._spool.close()

    def forget(self) -> None:
        """In a forked child: the files are the parent's."""
        self._spool.forget()

    def _write(self, now_s: float) -> None:
        if not self._unwritten:
            return
        records, self._unwritten = self._unwritten, []
        try:
            kept = self._spool.keep(records, now_s)
        except Exception as error:  # noqa: BLE001 - whatever it is, the counts must add up
            kept = Kept(0, failed=len(records), error=repr(error))
        self._tally.spool(kept.spooled)
        for reason, n in (("spool_full", kept.full), ("spool_failed", kept.failed)):
            if n:
                lost = self._tally.drop(reason, n)
                self._complain(f"{lost} events lost ({reason}) {kept.error}".rstrip())
