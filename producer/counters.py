"""Counts of the events that an `InferenceLogger` received, by result."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from producer.events import InferenceEvent, Label

PendingEvent: TypeAlias = tuple[Callable[..., InferenceEvent | Label], tuple[Any, ...]]
"""A constructor and its arguments; the sender calls it, to spare the serving thread the work."""


class Counters(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of events since the logger was created in this process.

    ``accepted == delivered + sum(dropped.values()) + spooled + in_flight`` at any moment.

    Keys of ``dropped``: ``queue_full``, ``invalid`` (the monitor would reject it; the field
    ``invalid`` has the counts by reason), ``undelivered`` (at close), ``spool_full``,
    ``spool_failed`` (a disk error), ``spool_damaged`` (unreadable when it was to be sent), and the
    names of Kafka's errors.

    ``spooled`` events are on disk, for this process or the next.  Events of an earlier process are
    counted apart: ``recovered`` when Kafka acknowledged them, ``unrecoverable`` for each damaged
    record, each corrupt file, and each record that Kafka rejected for good.
    """

    accepted: int
    delivered: int
    dropped: dict[str, int]
    in_flight: int
    spooled: int = 0
    recovered: int = 0
    unrecoverable: int = 0
    invalid: dict[str, int] = {}


class LoggerState:
    """The queue and the counts of one logger; any thread may call any method.

    The serving thread only appends to ``queue``.  Accepted events are those in the queue, those
    taken from it, and those dropped before it.
    """

    def __init__(self) -> None:
        self.queue: deque[PendingEvent] = deque()
        self._lock = threading.Lock()
        self._taken = 0
        self._delivered = 0
        self._dropped: Counter[str] = Counter()
        self._invalid: Counter[str] = Counter()
        self._spooled = 0
        self._recovered = 0
        self._unrecoverable = 0

    def dequeue(self) -> None:
        """Remove the first event of the queue, which was sent or dropped."""
        with self._lock:
            self.queue.popleft()
            self._taken += 1

    def count_dropped_before_queue(self, reason: str) -> None:
        """Count an event that was dropped before it entered the queue."""
        with self._lock:
            self._taken += 1
            self._dropped[reason] += 1

    def count_delivered(self, n: int = 1) -> None:
        """Count events that Kafka acknowledged."""
        with self._lock:
            self._delivered += n

    def count_dropped(self, reason: str, n: int = 1) -> int:
        """Count lost events; return how many were lost for this reason so far."""
        with self._lock:
            self._dropped[reason] += n
            return self._dropped[reason]

    def count_invalid(self, reason: str) -> int:
        """Count an invalid event; return how many had this reason so far."""
        with self._lock:
            self._dropped["invalid"] += 1
            self._invalid[reason] += 1
            return self._invalid[reason]

    def count_spooled(self, n: int) -> None:
        """Count events that are on disk now."""
        with self._lock:
            self._spooled += n

    def count_spooled_delivered(self) -> None:
        """Count an event of this process that Kafka acknowledged from disk."""
        with self._lock:
            self._spooled -= 1
            self._delivered += 1

    def count_spooled_lost(self, reason: str, n: int = 1) -> None:
        """Count events of this process that were lost on disk."""
        with self._lock:
            self._spooled -= n
            self._dropped[reason] += n

    def count_recovered(self) -> None:
        """Count an event of an earlier process that Kafka acknowledged."""
        with self._lock:
            self._recovered += 1

    def count_unrecoverable(self, n: int) -> None:
        """Count events of an earlier process that are lost."""
        with self._lock:
            self._unrecoverable += n

    def snapshot(self) -> Counters:
        """Return consistent counts."""
        with self._lock:
            accepted = self._taken + len(self.queue)
            return Counters(
                accepted=accepted,
                delivered=self._delivered,
                dropped=dict(self._dropped),
                in_flight=(
                    accepted - self._delivered - sum(self._dropped.values()) - self._spooled
                ),
                spooled=self._spooled,
                recovered=self._recovered,
                unrecoverable=self._unrecoverable,
                invalid=dict(self._invalid),
            )
