"""Detects repeats in a feature whose values are normally unique: 999, -1, a default.

A value that the reference does not have twice is followed once it comes twice within
`RING_VALUES`.  It is found at its k-th occurrence if these lie closer together than chance allows.
An occurrence right after another one does not count: the constant rule finds these.  The memory is
bounded, and does not depend on where batches are cut.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

import msgspec
import numpy as np

from stream_monitor.reference.bounds import Hashes, hashes_of
from stream_monitor.statistics.fixed_point import Bools, Floats, Ints

RING_VALUES: Final = 512
MOST_TIMES: Final = 10
_LEAST_TIMES: Final = 3
_MAX_FOLLOWED: Final = 64
_LOW: Final = np.uint64(0xFFFFFFFF)
_16: Final = np.uint32(16)
_32: Final = np.uint64(32)
_Before: TypeAlias = tuple[int, int, Hashes, float | None, dict[float, list[tuple[int, int]]]]


class RepeatedValue(NamedTuple):
    """A value that repeated too often, at ``position`` of a batch.

    ``times``: how often, runs counted once, since its first occurrence ``back`` events before.
    """

    position: int
    back: int
    value: float
    times: int


@lru_cache(maxsize=1024)
def spans_of(chance: float, arl0_events: float) -> tuple[int, ...]:
    """Return the numbers of events within which 3, 4, ... 10 equal values raise a signal.

    A value of probability ``chance`` comes k times within s others with a probability of less than
    (chance s)^(k - 1) / (k - 1)!.  All k together have one false alarm in ``arl0_events``.

    >>> spans_of(1e-5, 1e8)
    (4, 195, 1316, 4317, 9825, 18073, 29027, 42512)
    """
    times = range(_LEAST_TIMES, MOST_TIMES + 1)
    share = arl0_events * len(times)
    return tuple(
        int(math.exp((math.lgamma(k) - math.log(share)) / (k - 1)) / chance) for k in times
    )


class RepeatedValueState(msgspec.Struct, frozen=True, array_like=True):
    """The state of a detector of repeated values.

    ``n_events`` came so far, ``n`` of them not known.  ``ring`` are the hashes of the latest (32
    bits, little-endian), ``last`` is the latest value.  ``followed`` are the latest occurrences of
    each followed value: positions among the values, and among the events.
    """

    n_events: int
    n: int
    ring: bytes
    last: float | None
    followed: dict[float, list[tuple[int, int]]] = {}


class RepeatedValueDetector:
    """Detects values of one feature that repeat too often."""

    def __init__(
        self, known: Floats, chance: float, arl0_events: float, *, repeating: bool = False
    ) -> None:
        """``chance`` is the probability of a value among those that are not ``known``.

        Where all values of the reference are known, and repeat (``repeating``), it is among all.
        """
        self._known = known
        self._repeating = repeating
        self._spans = spans_of(chance, arl0_events)
        self._n_events = 0
        self.forget()
        self._before: _Before | None = None

    def forget(self) -> None:
        """Forget all earlier values."""
        self._n = 0  # values that are not known
        self._ring = np.zeros(0, dtype=np.uint32)
        self._last: float | None = None
        self._followed: dict[float, list[tuple[int, int]]] = {}

    def observe(self, values: Floats) -> RepeatedValue | None:
        """Apply consecutive values (n,), up to the first that repeats too often."""
        if not len(values):
            return None
        self._before = (self._n_events, self._n, self._ring, self._last, dict(self._followed))
        found = self._observe(values)
        if found is not None and found.position + 1 < len(values):
            self.undo()
            self._observe(values[: found.position + 1])
        return found

    def keep(self) -> None:
        """Do not undo the last `observe` any more: the state before it takes memory."""
        self._before = None

    def undo(self) -> None:
        """Undo the last `observe`; not after `keep`."""
        if self._before is None:
            raise RuntimeError("there is nothing to undo")
        self._n_events, self._n, self._ring, self._last, followed = self._before
        self._followed = dict(followed)

    def _observe(self, values: Floats) -> RepeatedValue | None:
        where = self._is_new(values).nonzero()[0]
        fresh = values[where] + 0.0  # -0.0 is 0.0
        found = None
        if self._repeating:
            found = self._follow(fresh, where, dict.fromkeys(range(len(fresh)), 0))
        else:
            hashes = hashes_of(fresh)
            recent: Hashes = np.concatenate((self._ring, hashes))
            pairs = _pairs(recent, len(self._ring))
            if len(pairs) or self._followed:
                found = self._follow(fresh, where, pairs, hashes)
            self._ring = recent[-RING_VALUES:].copy()  # a view would hold all hashes
        self._n += len(fresh)
        self._n_events += len(values)
        self._last = float(values[-1])
        return found

    def _is_new(self, values: Floats) -> Bools:
        """Mark the values that are not known and differ from the one before."""
        new = np.empty(len(values), dtype=np.bool_)
        new[0] = values[0] != self._last
        np.not_equal(values[1:], values[:-1], out=new[1:])
        if len(self._known):
            at = self._known.searchsorted(values)
            new &= self._known.take(at, mode="clip") != values
        return new

    def _follow(
        self, fresh: Floats, where: Ints, pairs: Mapping[int, int], hashes: Hashes | None = None
    ) -> RepeatedValue | None:
        """Follow the values that came before within the ring, or are followed already.

        Without ``hashes`` all values are followed from their first occurrence on.
        """
        places = list(pairs)
        if hashes is not None:
            followed = hashes_of(np.array(list(self._followed), dtype=np.float64))
            likely = _likely(hashes, np.concatenate((followed, hashes[places])))
            values = {*self._followed, *fresh[places].tolist()}
            places = [i for i in likely.tolist() if fresh[i] in values]
        for i in places:
            value, event = float(fresh[i]), self._n_events + int(where[i])
            place = event if self._repeating else self._n + i
            times = self._followed.get(value, [])
            if times and place - times[-1][0] > self._spans[-1]:
                times = []
            back = pairs.get(i)
            if not times and back is None:
                continue
            if not times and back:
                times = [(place - back, event - back)]
            times = [*times, (place, event)][-MOST_TIMES:]
            if self._is_too_often(times):
                self._followed.pop(value, None)
                return RepeatedValue(int(where[i]), event - times[0][1], value, len(times))
            self._keep(value, times)
        return None

    def _is_too_often(self, times: Sequence[tuple[int, int]]) -> bool:
        return any(
            times[-1][0] - times[-k][0] <= span
            for k, span in enumerate(self._spans, _LEAST_TIMES)
            if k <= len(times)
        )

    def _keep(self, value: float, times: list[tuple[int, int]]) -> None:
        self._followed[value] = times
        if len(self._followed) > _MAX_FOLLOWED:  # the one with the oldest occurrence
            del self._followed[min(self._followed, key=lambda v: self._followed[v][-1][0])]

    def snapshot(self) -> RepeatedValueState:
        """The state; it is not changed by later events."""
        ring = self._ring.astype("<u4").tobytes()
        followed = dict(sorted(self._followed.items()))
        return RepeatedValueState(self._n_events, self._n, ring, self._last, followed)

    def restore(self, state: RepeatedValueState) -> None:
        """Continue from `snapshot`.  Raises ValueError where it is impossible."""
        ring = state.ring
        if not 0 <= state.n <= state.n_events or len(ring) > 4 * min(state.n, RING_VALUES):
            raise ValueError("the stored state of repeated values is invalid")
        if len(state.followed) > _MAX_FOLLOWED or len(ring) % 4:
            raise ValueError("the stored state of repeated values is invalid")
        if any(len(times) > MOST_TIMES for times in state.followed.values()):
            raise ValueError("the stored state of repeated values is invalid")
        self._n_events, self._n, self._last = state.n_events, state.n, state.last
        self._ring = np.frombuffer(ring, dtype="<u4").astype(np.uint32)
        self._followed = dict(state.followed)


def _likely(hashes: Hashes, wanted: Hashes) -> Ints:
    """The places of all hashes (n,) that are wanted (k,), ascending, and of a few others.

    One table look-up for each hash, of its upper half: a fifth of the cost of comparing values.
    """
    table = np.zeros(1 << 16, dtype=np.bool_)
    table[wanted >> _16] = True
    places: Ints = table[hashes >> _16].nonzero()[0]
    return places


def _pairs(recent: Hashes, n_before: int) -> dict[int, int]:
    """The distance of new values (those from ``n_before`` on) to their last occurrence."""
    ordered = np.sort(recent)
    equal = ordered[1:] == ordered[:-1]
    if not np.count_nonzero(equal):
        return {}  # the usual case, without their places
    at = _likely(recent, ordered[1:][equal])
    keys = (recent[at].astype(np.uint64) << _32) | at.astype(np.uint64)
    keys.sort()
    same = np.flatnonzero(keys[1:] >> _32 == keys[:-1] >> _32)
    if not len(same):
        return {}
    later, earlier = (keys[same + 1] & _LOW).astype(np.int64), (keys[same] & _LOW).astype(np.int64)
    back = later - earlier
    kept = (later >= n_before) & (back <= RING_VALUES)
    order = np.argsort(later[kept])
    places, backs = later[kept][order] - n_before, back[kept][order]
    return dict(zip(places.tolist(), backs.tolist(), strict=True))
