"""Detects one frequent value in a feature whose values repeat less often, such as 999 among prices.

The hashes of the values of the latest `RING_EVENTS` events are kept, without the most frequent
values of the reference.  A value is found at its k-th occurrence if these lie closer together than
chance allows.  As in `RepeatedValueDetector`, an occurrence right after another one does not count.
The count of a value that was found starts at zero.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from stream_monitor.checks.repeated_value import (
    MOST_TIMES,
    RepeatedValue,
    RepeatedValueState,
    spans_of,
)
from stream_monitor.reference.bounds import HalfHashes, Hashes, hashes_of
from stream_monitor.statistics.fixed_point import Floats, Ints

RING_EVENTS: Final = 1024
_LOW: Final = np.uint64(0xFFFFFFFF)
_16: Final = np.uint32(16)
_32: Final = np.uint64(32)


class FrequentValueDetector:
    """Detects a value that is too frequent in a feature with many repeating values."""

    def __init__(self, frequent: HalfHashes, chance: float, arl0_events: float) -> None:
        """``frequent`` are the upper halves of hashes of frequent values, ascending, (k,)."""
        self._frequent = frequent
        self._spans = tuple(min(RING_EVENTS, s) for s in spans_of(chance, arl0_events))
        self._n = 0
        self.forget()
        self._before: tuple[int, Hashes, float | None] | None = None

    def forget(self) -> None:
        """Forget all earlier values."""
        self._ring = np.zeros(0, dtype=np.uint32)
        self._last: float | None = None

    def observe(self, values: Floats) -> RepeatedValue | None:
        """Apply consecutive values (n,), up to the first value that is too frequent."""
        if not len(values):
            return None
        self._before = (self._n, self._ring, self._last)
        recent: Hashes = np.concatenate((self._ring, self._marks(values)))
        found = self._first_too_often(recent, values)
        n = len(values) if found is None else found.position + 1
        self._ring = recent[: len(self._ring) + n][-RING_EVENTS:].copy()  # without the others
        if found is not None:
            self._ring = self._ring * (self._ring != self._ring[-1])
        self._n += n
        self._last = float(values[n - 1])
        return found

    def keep(self) -> None:
        """Do not undo the last `observe` any more: the state before it takes memory."""
        self._before = None

    def undo(self) -> None:
        """Undo the last `observe`; not after `keep`."""
        if self._before is None:
            raise RuntimeError("there is nothing to undo")
        self._n, self._ring, self._last = self._before

    def _marks(self, values: Floats) -> Hashes:
        """The hashes of values (n,); 0 for a frequent value, and for a repeat of the one before."""
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

    def snapshot(self) -> RepeatedValueState:
        """The state; it is not changed by later events."""
        ring = self._ring.astype("<u4").tobytes()
        return RepeatedValueState(self._n, self._n, ring, self._last)

    def restore(self, state: RepeatedValueState) -> None:
        """Continue from `snapshot`.  Raises ValueError where it is impossible."""
        n, ring = state.n, state.ring
        if n < 0 or len(ring) % 4 or len(ring) > 4 * min(n, RING_EVENTS):
            raise ValueError("the stored state of frequent values is invalid")
        self._n, self._last = n, state.last
        self._ring = np.frombuffer(ring, dtype="<u4").astype(np.uint32)
