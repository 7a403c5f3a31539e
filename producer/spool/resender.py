"""Sends spooled records to Kafka, oldest first, at a rate that adapts to the acknowledgements.

The window of unacknowledged records starts at one.  Each acknowledgement adds one, which doubles
the window from round to round, up to `MAX_OUTSTANDING`.  A failure resets it to one and starts a
pause.  A segment is removed when each of its records is acknowledged, unreadable, or has a
permanent error.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, TypeAlias

from confluent_kafka import KafkaError, Message

from producer.counters import LoggerState
from producer.spool.disk_spool import DiskSpool
from producer.spool.permanent_errors import is_permanent
from producer.spool.segment_format import VERSION, SpooledRecord, records_of, version_of
from producer.spool.segments import Segment

MAX_OUTSTANDING: Final = 500
MAX_PER_S: Final = 10_000
RETRY_PAUSE_S: Final = 1.0

OnDelivery: TypeAlias = Callable[[KafkaError | None, Message], None]
Send: TypeAlias = Callable[[SpooledRecord, OnDelivery], KafkaError | None]
"""Hands a record to librdkafka; returns an error or ``None``; raises BufferError (full queue)."""


class SpoolResender:
    """Sends one segment at a time and has only that segment in memory."""

    def __init__(self, spool: DiskSpool, state: LoggerState, send: Send) -> None:
        self._spool, self._state, self._send = spool, state, send
        self._segment: Segment | None = None
        self._records: Iterator[SpooledRecord | None] = iter(())
        self._to_retry: deque[SpooledRecord] = deque()
        self._outstanding = 0
        self._window = 1
        self._n_read = 0
        self._rate_tokens = 0.0
        self._now_s = self._resume_s = 0.0

    def run(self, now_s: float, free_slots: int) -> str:
        """Send at most ``free_slots`` records; return an error text, or an empty one."""
        passed_s, self._now_s = now_s - self._now_s, now_s
        self._rate_tokens = min(MAX_OUTSTANDING, self._rate_tokens + passed_s * MAX_PER_S)
        if now_s < self._resume_s:
            return ""
        if self._segment is None:
            problem = self._open()
            if self._segment is None:
                return problem
        limit = min(self._window - self._outstanding, free_slots, int(self._rate_tokens))
        for _ in range(limit):
            record = self._next()
            if record is None:
                self._finish()
                break
            if not self._send_one(record):
                break
        return ""

    def _open(self) -> str:
        """Open the oldest segment; return an error text if it cannot be read."""
        segment = self._spool.oldest()
        if segment is None:
            return ""
        try:
            content = segment.read()
        except FileNotFoundError:
            content = b""  # removed by another program: its records count as damaged
        except OSError as error:
            return self._skip(segment, str(error))
        version = version_of(content)
        if version is not None and version != VERSION:
            return self._skip(
                segment, f"this driftline does not know version {version} of the format"
            )
        self._segment, self._records, self._n_read = segment, records_of(content), 0
        return ""

    def _skip(self, segment: Segment, why: str) -> str:
        """Leave an unreadable segment to a later process."""
        self._spool.skip(segment)
        if segment.n_records is not None:
            self._state.count_spooled_lost("spool_failed", segment.n_records)
        return f"{segment.path.name}: {why}"

    def _next(self) -> SpooledRecord | None:
        """Return the next record of the segment; ``None`` when all were sent once."""
        if self._to_retry:
            return self._to_retry.popleft()
        for record in self._records:
            if record is not None:
                self._n_read += 1
                return record
            if not self._is_own_segment:  # `_finish` counts those of an own segment
                self._state.count_unrecoverable()
        return None

    @property
    def _is_own_segment(self) -> bool:
        return self._segment is not None and self._segment.n_records is not None

    def _send_one(self, record: SpooledRecord) -> bool:
        """Send one record; False if librdkafka's queue is full."""
        is_own = self._is_own_segment
        try:
            error = self._send(record, partial(self._on_outcome, record, is_own))
        except BufferError:
            self._to_retry.appendleft(record)
            return False
        self._outstanding += 1
        self._rate_tokens -= 1
        if error is not None:
            self._on_outcome(record, is_own, error)
        return True

    def _on_outcome(
        self,
        record: SpooledRecord,
        is_own: bool,  # noqa: FBT001 - librdkafka passes the rest by position
        error: KafkaError | None,
        _message: Message | None = None,
    ) -> None:
        """Handle the acknowledgement or the error of one record."""
        self._outstanding -= 1
        if error is None:
            self._window = min(MAX_OUTSTANDING, self._window + 1)
            if is_own:
                self._state.count_spooled_delivered()
            else:
                self._state.count_recovered()
        elif not is_permanent(error):
            self._window = 1
            self._resume_s = self._now_s + RETRY_PAUSE_S
            self._to_retry.append(record)
        elif is_own:
            self._state.count_spooled_lost(error.name().lower())
        else:
            self._state.count_unrecoverable()

    def _finish(self) -> None:
        """Remove the segment once all of its records have a result."""
        segment = self._segment
        if segment is None or self._outstanding or self._to_retry:
            return
        self._segment = None
        if segment.n_records is not None and segment.n_records > self._n_read:
            self._state.count_spooled_lost("spool_damaged", segment.n_records - self._n_read)
        self._spool.remove(segment)
