"""Values that come too often in a feature with many values that all may repeat: 999 among prices.

Of the latest `RING_EVENTS` events the hashes of values are kept that are not among the most
frequent ones of the reference.  A value is found at its k-th time where no more events lay between
than chance allows for so many.  As in `RepeatedValueDetector` it counts for nothing that a value
comes again right after itself.  A value that was found is counted anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from stream_monitor.checks.repeated_value import MOST_TIMES, RepeatedValue, spans_of
from stream_monitor.reference.bounds import HalfHashes, Hashes, hashes_of
from stream_monitor.statistics.fixed_point import Floats, Ints

RING_EVENTS: Final = 1024
_LOW: Final = np.uint64(0xFFFFFFFF)
_16: Final = np.uint32(16)
_32: Final = np.uint64(32)


class OftenWatch:
    """The latest values of one feature; exact under any cut of the log."""

    def __init__(self, frequent: HalfHashes, chance: float, arl0_events: float) -> None:
        """``frequent`` are the upper halves of hashes, ascending, shape (k,)."""
        self._frequent = frequent
        self._spans = tuple(min(RING_EVENTS, s) for s in spans_of(chance, arl0_events))
        self._n = 0
        self.forget()
        self._before = (self._n, self._ring, self._last)

    def forget(self) -> None:
        """What lies behind says nothing any more."""
        self._ring = np.zeros(0, dtype=np.uint32)
        self._last: float | None = None

    def observe(self, values: Floats) -> RepeatedValue | None:
        """Take consecutive values (n,); stops after the first that comes too often."""
        if not len(values):
            return None
        self._before = (self._n, self._ring, self._last)
        recent: Hashes = np.concatenate((self._ring, self._marks(values)))
        found = self._first_too_often(recent, values)
        n = len(values) if found is None else found.position + 1
        self._ring = recent[: len(self._ring) + n][-RING_EVENTS:]
        if found is not None:
            self._ring = self._ring * (self._ring != self._ring[-1])
        self._n += n
        self._last = float(values[n - 1])
        return found

    def undo(self) -> None:
        """Take back the last `observe`."""
        self._n, self._ring, self._last = self._before

    def _marks(self, values: Floats) -> Hashes:
        """The hashes of values (n,); 0 for a frequent value, and for one right after itself."""
        marks = hashes_of(values)
        counts = np.empty(len(values), dtype=np.bool_)
        counts[0] = values[0] != self._last
        np.not_equal(values[1:], values[:-1], out=counts[1:])
        if len(self._frequent):
            upper = (marks >> _16).astype(np.uint16)
            at = self._frequent.searchsorted(upper)
            counts &= self._frequent.take(at, mode="clip") != upper
        return np.maximum(marks, 1) * counts

    def _first_too_often(self, recent: Hashes, values: Floats) -> RepeatedValue | None:
        places = np.flatnonzero(recent)
        keys = (recent[places].astype(np.uint64) << _32) | places.astype(np.uint64)
        keys.sort()
        marks, at = keys >> _32, (keys & _LOW).astype(np.int64)
        n_before, first = len(self._ring), len(recent)
        for k, span in enumerate(self._spans, MOST_TIMES + 1 - len(self._spans)):
            near = (marks[k - 1 :] == marks[: 1 - k]) & (at[k - 1 :] - at[: 1 - k] <= span)
            late = at[k - 1 :][near]
            first = min(first, int(late[late >= n_before].min(initial=first)))
        if first == len(recent):
            return None
        same: Ints = np.flatnonzero(recent == recent[first])
        same = same[(same <= first) & (same >= first - self._spans[-1])][-MOST_TIMES:]
        position = first - n_before
        return RepeatedValue(position, first - int(same[0]), float(values[position]), len(same))

    def snapshot(self) -> list[Any]:
        """The state as plain data."""
        return [self._n, self._ring.astype("<u4").tobytes(), self._last]

    def restore(self, data: Sequence[Any]) -> None:
        """Restore from `snapshot`.  Raises ValueError on what no snapshot holds."""
        n, ring, last = data
        if n < 0 or len(ring) % 4 or len(ring) > 4 * min(n, RING_EVENTS):
            raise ValueError("impossible state of what comes too often")
        self._n, self._last = n, last
        self._ring = np.frombuffer(ring, dtype="<u4").astype(np.uint32)
