"""Values that repeat in a feature whose values otherwise do not: 999, -1, a default.

A value that the reference does not have twice is followed once it comes twice within
`RING_VALUES`, and is found at its k-th time where no more values lay between than chance allows
for so many.  That a value comes again right after itself counts for nothing: a feature that is
stuck has a rule of its own.  What is kept is bounded, and does not depend on where the log is cut.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from stream_monitor.reference.bounds import Hashes, hashes_of
from stream_monitor.statistics.fixed_point import Bools, Floats, Ints

RING_VALUES: Final = 512
MOST_TIMES: Final = 10
_LEAST_TIMES: Final = 3
_MAX_FOLLOWED: Final = 64
_LOW: Final = np.uint64(0xFFFFFFFF)
_32: Final = np.uint64(32)


class RepeatedValue(NamedTuple):
    """At ``position`` of those it was given ``value`` came too often.

    ``times``: how often, runs counted once, since the first time ``back`` events before.
    """

    position: int
    back: int
    value: float
    times: int


def spans_of(chance: float, arl0_events: float) -> tuple[int, ...]:
    """Among how many values one may come 3, 4, ... 10 times.

    A value with ``chance`` of coming does so k times within s others with a probability of less
    than (chance s)^(k - 1) / (k - 1)!; all k together signal once in ``arl0_events``.

    >>> spans_of(1e-5, 1e8)
    (4, 195, 1316, 4317, 9825, 18073, 29027, 42512)
    """
    times = range(_LEAST_TIMES, MOST_TIMES + 1)
    share = arl0_events * len(times)
    return tuple(
        int(math.exp((math.lgamma(k) - math.log(share)) / (k - 1)) / chance) for k in times
    )


class RepeatedValueDetector:
    """The latest values of one feature, and those that are followed."""

    def __init__(
        self, known: Floats, chance: float, arl0_events: float, *, repeating: bool = False
    ) -> None:
        """``chance`` of a value is that among those that are not ``known``.

        Where all values of the reference are known, and repeat (``repeating``), it is among all.
        """
        self._known = known
        self._repeating = repeating
        self._spans = spans_of(chance, arl0_events)
        self._n_events = 0
        self.forget()
        self._before = (0, 0, self._ring, self._last, self._followed)

    def forget(self) -> None:
        """What lies behind says nothing any more."""
        self._n = 0  # values that are not known
        self._ring = np.zeros(0, dtype=np.uint32)
        self._last: float | None = None
        # Of each value its latest times: places among the values, and among the events.
        self._followed: dict[float, list[tuple[int, int]]] = {}

    def observe(self, values: Floats) -> RepeatedValue | None:
        """Take consecutive values (n,); stops after the first that comes too often."""
        if not len(values):
            return None
        self._before = (self._n_events, self._n, self._ring, self._last, dict(self._followed))
        found = self._observe(values)
        if found is not None and found.position + 1 < len(values):
            self.undo()
            self._observe(values[: found.position + 1])
        return found

    def undo(self) -> None:
        """Take back the last `observe`."""
        self._n_events, self._n, self._ring, self._last, followed = self._before
        self._followed = dict(followed)

    def _observe(self, values: Floats) -> RepeatedValue | None:
        where = np.flatnonzero(self._is_new(values))
        fresh = values[where] + 0.0  # -0.0 is 0.0
        found = None
        if self._repeating:
            found = self._follow(fresh, where, dict.fromkeys(range(len(fresh)), 0))
        else:
            recent: Hashes = np.concatenate((self._ring, hashes_of(fresh)))
            pairs = _pairs(recent, len(self._ring))
            if len(pairs) or self._followed:
                found = self._follow(fresh, where, pairs)
            self._ring = recent[-RING_VALUES:]
        self._n += len(fresh)
        self._n_events += len(values)
        self._last = float(values[-1])
        return found

    def _is_new(self, values: Floats) -> Bools:
        """Those that are not known, and do not repeat the one before."""
        new = np.empty(len(values), dtype=np.bool_)
        new[0] = values[0] != self._last
        np.not_equal(values[1:], values[:-1], out=new[1:])
        if len(self._known):
            at = self._known.searchsorted(values)
            new &= self._known.take(at, mode="clip") != values
        return new

    def _follow(self, fresh: Floats, where: Ints, pairs: Mapping[int, int]) -> RepeatedValue | None:
        """Walk over values that came before within the ring, or are followed."""
        places = list(pairs)
        if not self._repeating:
            values = {*self._followed, *fresh[places].tolist()}
            places = np.flatnonzero(np.isin(fresh, list(values))).tolist()
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
        if len(self._followed) > _MAX_FOLLOWED:  # the one that was not seen for longest gives way
            del self._followed[min(self._followed, key=lambda v: self._followed[v][-1][0])]

    def snapshot(self) -> list[Any]:
        """The state as plain data."""
        followed = sorted([value, *map(list, times)] for value, times in self._followed.items())
        ring = self._ring.astype("<u4").tobytes()
        return [self._n_events, self._n, ring, self._last, followed]

    def restore(self, data: Sequence[Any]) -> None:
        """Restore from `snapshot`.  Raises ValueError on what no snapshot holds."""
        n_events, n, ring, last, followed = data
        if not 0 <= n <= n_events or len(ring) % 4 or len(ring) > 4 * min(n, RING_VALUES):
            raise ValueError("impossible state of what repeats")
        if len(followed) > _MAX_FOLLOWED or any(len(f) > MOST_TIMES + 1 for f in followed):
            raise ValueError("more values are followed than may be")
        self._n_events, self._n, self._last = n_events, n, last
        self._ring = np.frombuffer(ring, dtype="<u4").astype(np.uint32)
        self._followed = {value: [(a, b) for a, b in times] for value, *times in followed}


def _pairs(recent: Ints | Any, n_before: int) -> dict[int, int]:
    """Of new values (those from ``n_before`` on) how far back the same one came, where it did."""
    keys = (recent.astype(np.uint64) << _32) | np.arange(len(recent), dtype=np.uint64)
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
