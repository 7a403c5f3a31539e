"""What became of the events a logger was given."""

from __future__ import annotations

import threading
from collections import Counter

import msgspec


class Counters(msgspec.Struct, frozen=True, kw_only=True):
    """``accepted == delivered + sum(dropped.values()) + in_flight``, at any moment.

    Reasons: ``queue_full``, ``invalid`` (not JSON), and the names of Kafka's errors.
    """

    accepted: int
    delivered: int
    dropped: dict[str, int]
    in_flight: int


class Tally:
    """The running counts; all methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._accepted = 0
        self._delivered = 0
        self._dropped: Counter[str] = Counter()

    def accept(self) -> None:
        """One more event was given to the logger."""
        with self._lock:
            self._accepted += 1

    def deliver(self) -> None:
        """Kafka acknowledged one."""
        with self._lock:
            self._delivered += 1

    def drop(self, reason: str) -> int:
        """One is lost; answers how many were lost for this reason."""
        with self._lock:
            self._dropped[reason] += 1
            return self._dropped[reason]

    def read(self) -> Counters:
        """A consistent view."""
        with self._lock:
            lost = sum(self._dropped.values())
            return Counters(
                accepted=self._accepted,
                delivered=self._delivered,
                dropped=dict(self._dropped),
                in_flight=self._accepted - self._delivered - lost,
            )
