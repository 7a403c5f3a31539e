"""The spool as the sender uses it: stores records while Kafka is unreachable, and sends them later.

Spooled records are sent oldest first, at a rate that adapts to the acknowledgements.  The window of
unacknowledged records starts at one.  Each acknowledgement adds one, which doubles the window from
round to round, up to `MAX_OUTSTANDING`.  A failure resets it to one and starts a pause.  A batch is
removed when each of its records is acknowledged or has a permanent error.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, TypeAlias

from confluent_kafka import KafkaError, Message

from producer.counters import LoggerState
from producer.spool.disk_spool import DiskSpool, SpoolResult, is_corrupt
from producer.spool.spool_file import Batch, SpooledRecord, SpoolFile

_PERMANENT_CODES: Final = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_MSG_SIZE,
        KafkaError.INVALID_RECORD,
        KafkaError.INVALID_TIMESTAMP,
        KafkaError._INVALID_ARG,  # noqa: SLF001 - librdkafka's own errors are named so
        KafkaError._INVALID_TYPE,  # noqa: SLF001
    }
)


def is_permanent(error: KafkaError) -> bool:
    """Whether a retry of the record cannot succeed."""
    return error.code() in _PERMANENT_CODES


_MAX_UNWRITTEN: Final = 500
MAX_OUTSTANDING: Final = 500
MAX_PER_S: Final = 10_000
RETRY_PAUSE_S: Final = 1.0

OnDelivery: TypeAlias = Callable[[KafkaError | None, Message], None]
Send: TypeAlias = Callable[[SpooledRecord, OnDelivery], KafkaError | None]
"""Hands a record to librdkafka; returns an error or ``None``; raises BufferError (full queue)."""


class Spool:
    """Spools records, sends them later, and counts the result of each.

    It sends one batch of one file at a time and has only that batch in memory.  Only the sender's
    thread calls it, except `close_in_child`.  File I/O blocks that thread, never a caller of the
    logger.
    """

    def __init__(
        self, disk: DiskSpool, state: LoggerState, send: Send, warn: Callable[[str], None]
    ) -> None:
        self._disk, self._state, self._send, self._warn = disk, state, send, warn
        self._unwritten: list[SpooledRecord] = []
        self._file: SpoolFile | None = None
        self._batch: Batch | None = None
        self._to_send: deque[SpooledRecord] = deque()
        self._outstanding = 0
        self._window = 1
        self._rate_tokens = 0.0
        self._now_s = self._resume_s = 0.0

    def add(self, record: SpooledRecord) -> None:
        """Take a record for the next write; it is in flight until then."""
        self._unwritten.append(record)
        if len(self._unwritten) >= _MAX_UNWRITTEN:
            self._write()

    def maintain(self, now_s: float, free_slots: int) -> None:
        """Write, adopt orphans and send at most ``free_slots`` records, each when due."""
        self._write()
        self._warn_of(self._disk.maintain(now_s))
        passed_s, self._now_s = now_s - self._now_s, now_s
        self._rate_tokens = min(MAX_OUTSTANDING, self._rate_tokens + passed_s * MAX_PER_S)
        if now_s < self._resume_s:
            return
        self._warn_of(self._next_batch())
        limit = min(self._window - self._outstanding, free_slots, int(self._rate_tokens))
        for _ in range(limit):
            if not self._to_send or not self._send_one(self._to_send.popleft()):
                break

    def close(self) -> None:
        """Write the last records and leave the spool to the next process."""
        self._write()
        self._disk.close()

    def close_in_child(self) -> None:
        """Leave the parent's files alone in a forked child."""
        self._disk.close_in_child()

    def _warn_of(self, problem: str) -> None:
        if problem:
            self._warn(f"spool: {problem}")

    def _write(self) -> None:
        if not self._unwritten:
            return
        records, self._unwritten = self._unwritten, []
        try:
            result = self._disk.write(records)
        except Exception as error:  # noqa: BLE001 - the counts must add up after any error
            result = SpoolResult(0, failed=len(records), error=repr(error))
        self._state.count_spooled(result.spooled)
        for reason, n in (("spool_full", result.full), ("spool_failed", result.failed)):
            if n:
                lost = self._state.count_dropped(reason, n)
                self._warn(f"{lost} events lost ({reason}) {result.error}".rstrip())

    def _next_batch(self) -> str:
        """Remove the batch if each record has a result, and read the next one."""
        if self._to_send or self._outstanding:
            return ""
        try:
            if self._file is not None and self._batch is not None:
                self._file.remove(self._batch)
            self._file, self._batch = self._disk.oldest(), None
            if self._file is not None:
                self._batch = self._file.first()
        except sqlite3.Error as error:
            return self._skip(error)
        if self._batch is not None:
            self._to_send.extend(self._batch.records)
            if self._batch.n_damaged:
                self._count_lost("spool_damaged", self._batch.n_damaged)
        elif self._file is not None:
            if self._file.n_own:
                self._count_lost("spool_damaged", self._file.n_own)
            self._disk.remove(self._file)
            self._file = None
        return ""

    def _skip(self, error: sqlite3.Error) -> str:
        """Keep an unreadable file on disk, and count its events."""
        if self._file is None:
            return str(error)
        if is_corrupt(error):
            self._count_lost("spool_damaged", 1 if self._file.n_own is None else self._file.n_own)
        elif self._file.n_own is not None:  # a later process may read it
            self._count_lost("spool_failed", self._file.n_own)
        path = self._disk.skip(self._file, error)
        self._file = self._batch = None
        return f"{path}: {error}"

    @property
    def _is_own_file(self) -> bool:
        return self._file is not None and self._file.n_own is not None

    def _count_lost(self, reason: str, n: int) -> None:
        """Count events of the file that are lost; of an earlier process, without a reason."""
        if self._is_own_file:
            self._state.count_spooled_lost(reason, n)
        else:
            self._state.count_unrecoverable(n)

    def _send_one(self, record: SpooledRecord) -> bool:
        """Send one record; False if librdkafka's queue is full."""
        try:
            error = self._send(record, partial(self._on_outcome, record))
        except BufferError:
            self._to_send.appendleft(record)
            return False
        self._outstanding += 1
        self._rate_tokens -= 1
        if error is not None:
            self._on_outcome(record, error)
        return True

    def _on_outcome(
        self, record: SpooledRecord, error: KafkaError | None, _message: Message | None = None
    ) -> None:
        """Handle the acknowledgement or the error of one record."""
        self._outstanding -= 1
        if error is None:
            self._window = min(MAX_OUTSTANDING, self._window + 1)
            if self._is_own_file:
                self._state.count_spooled_delivered()
            else:
                self._state.count_recovered()
        elif not is_permanent(error):
            self._window = 1
            self._resume_s = self._now_s + RETRY_PAUSE_S
            self._to_send.append(record)
        else:
            self._count_lost(error.name().lower(), 1)
