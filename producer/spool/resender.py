"""Sending again what lies in the spool, oldest first, as fast as Kafka shows that it can take it.

One record is tried while Kafka is away.  Each acknowledgement lets one more be on its way, which
doubles them from round to round up to `MAX_OUTSTANDING`; a failure sets it back to one, and a pause
follows.  A segment is removed when each of its records is settled: acknowledged, unreadable, or
refused for its own sake.
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
"""Hands a record to librdkafka: ``None``, or why not; raises BufferError for a full queue."""


class SpoolResender:
    """Works on one segment at a time, and holds no more than that in memory."""

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
        """Send what may be sent now, at most ``free_slots``; answers what went wrong, or nothing."""
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
        """Begin with the oldest segment, if there is one that can be read."""
        segment = self._spool.oldest()
        if segment is None:
            return ""
        try:
            content = segment.read()
        except FileNotFoundError:
            content = b""  # whoever removed it: what it held is counted as damaged
        except OSError as error:
            return self._skip(segment, str(error))
        version = version_of(content)
        if version is not None and version != VERSION:
            return self._skip(segment, f"version {version} is not known here")
        self._segment, self._records, self._n_read = segment, records_of(content), 0
        return ""

    def _skip(self, segment: Segment, why: str) -> str:
        """Leave it to a later process, and do not let it stop the others."""
        self._spool.skip(segment)
        if segment.n_records is not None:
            self._state.count_spooled_lost("spool_failed", segment.n_records)
        return f"{segment.path.name}: {why}"

    def _next(self) -> SpooledRecord | None:
        """The next record of the segment; ``None`` when all were sent once."""
        if self._to_retry:
            return self._to_retry.popleft()
        for record in self._records:
            if record is not None:
                self._n_read += 1
                return record
            if not self._is_own_segment:  # of ours we know how many there should be
                self._state.count_unrecoverable()
        return None

    @property
    def _is_own_segment(self) -> bool:
        return self._segment is not None and self._segment.n_records is not None

    def _send_one(self, record: SpooledRecord) -> bool:
        """Send one; False if librdkafka is full."""
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
        is_own: bool,  # noqa: FBT001 - librdkafka adds what follows by position
        error: KafkaError | None,
        _message: Message | None = None,
    ) -> None:
        """Hear what became of one."""
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
        """All of the segment were sent; when all are settled, it goes."""
        segment = self._segment
        if segment is None or self._outstanding or self._to_retry:
            return
        self._segment = None
        if segment.n_records is not None and segment.n_records > self._n_read:
            self._state.count_spooled_lost("spool_damaged", segment.n_records - self._n_read)
        self._spool.remove(segment)
