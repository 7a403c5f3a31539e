"""What became of the events a logger was given."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from producer.events import InferenceEvent, Label

PendingEvent: TypeAlias = tuple[Callable[..., InferenceEvent | Label], tuple[Any, ...]]
"""What makes an event, and from what: called later, so that the thread that serves need not."""


class Counters(msgspec.Struct, frozen=True, kw_only=True):
    """``accepted == delivered + sum(dropped.values()) + spooled + in_flight``, at any moment.

    Reasons to drop: ``queue_full``, ``invalid`` (what the monitor would reject; ``invalid`` says
    why, by its reasons), ``undelivered`` (at close),
    ``spool_full``, ``spool_failed`` (the disk refused), ``spool_damaged`` (unreadable when it was
    to be sent again), and the names of Kafka's errors.

    ``spooled`` is what lies on disk, or was left there at close, for the next process.  What an
    earlier process left is counted apart: ``recovered`` when Kafka acknowledged it,
    ``unrecoverable`` for each damaged stretch, and each record Kafka refused.
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
    """The running counts, and the queue of what waits; any thread may call any method.

    The thread that serves appends to ``queue`` and does nothing else: what was accepted is what
    waits, what was taken from the queue, and what was turned away at the door.
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
        """The first of the queue was handed on, or dropped."""
        with self._lock:
            self.queue.popleft()
            self._taken += 1

    def count_dropped_before_queue(self, reason: str) -> None:
        """One was given to the logger and never came into the queue."""
        with self._lock:
            self._taken += 1
            self._dropped[reason] += 1

    def count_delivered(self) -> None:
        """Kafka acknowledged one."""
        with self._lock:
            self._delivered += 1

    def count_dropped(self, reason: str, n: int = 1) -> int:
        """Some are lost; answers how many were lost for this reason."""
        with self._lock:
            self._dropped[reason] += n
            return self._dropped[reason]

    def count_invalid(self, reason: str) -> int:
        """One is what the monitor would reject; answers how many were, for this reason."""
        with self._lock:
            self._dropped["invalid"] += 1
            self._invalid[reason] += 1
            return self._invalid[reason]

    def count_spooled(self, n: int) -> None:
        """Some lie on disk now."""
        with self._lock:
            self._spooled += n

    def count_spooled_delivered(self) -> None:
        """Kafka acknowledged one of ours from the disk."""
        with self._lock:
            self._spooled -= 1
            self._delivered += 1

    def count_spooled_lost(self, reason: str, n: int = 1) -> None:
        """Some of ours on disk are lost."""
        with self._lock:
            self._spooled -= n
            self._dropped[reason] += n

    def count_recovered(self) -> None:
        """Kafka acknowledged one that an earlier process left."""
        with self._lock:
            self._recovered += 1

    def count_unrecoverable(self) -> None:
        """One that an earlier process left is lost."""
        with self._lock:
            self._unrecoverable += 1

    def snapshot(self) -> Counters:
        """A consistent view."""
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
