"""The range detector: signals when more values lie outside a range than the reference allows.

Cumulative sums of log-likelihood ratios (Page, 1954), one for each of several larger rates: each
signals at most once in exp(threshold) spans where nothing changed (Lorden, 1971), whatever the
distribution.  A span is one event, or as many as depend on each other.  Sums are integers, so the
result does not depend on batches.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec
import numpy as np

from stream_monitor.statistics.fixed_point import Ints

_UNIT: Final = 1 << 20  # of a log-likelihood ratio
_STEP: Final = 3.0  # from one rate to the next
_FIRST: Final = 10.0  # times the expected rate, where the reference has no value outside
_FIRST_OF_SOME: Final = 2.0
_MOST: Final = 0.5
_LONGEST_GAP: Final = 1 << 40


class CusumAlarm(NamedTuple):
    """An alarm at ``position``; the first value outside came ``back`` events before it."""

    position: int
    back: int


class RateCusumState(msgspec.Struct, frozen=True, array_like=True):
    """The events so far, the span of the last value outside, and for each rate sum and start."""

    n: int
    last: int
    sums: Ints
    starts: Ints


@lru_cache(maxsize=1024)
def _scores(rate: float, n_spans: float, usual: bool) -> tuple[int, Ints, Ints]:  # noqa: FBT001
    """The threshold, and gain and cost of each sum (k,).  Features with equal ones share them."""
    rates = [min(_MOST, rate * (_FIRST_OF_SOME if usual else _FIRST))]
    while rates[-1] * _STEP < _MOST:
        rates.append(rates[-1] * _STEP)
    rates = [r for r in rates if r > rate] or [(1 + rate) / 2]
    ratios = [(math.log(r / rate), -math.log((1 - r) / (1 - rate))) for r in rates]
    gains = np.array([max(1, round(g * _UNIT)) for g, _ in ratios], dtype=np.int64)
    costs = np.array([max(1, round(c * _UNIT)) for _, c in ratios], dtype=np.int64)
    return math.ceil(math.log(n_spans * len(rates)) * _UNIT), gains, costs


class RateCusum:
    """The sums of one feature."""

    def __init__(self, rate: float, span_events: int, arl0_events: float, *, usual: bool) -> None:
        """Start empty.

        At most a share ``rate`` of spans has a value outside by chance; ``usual``: the reference
        has such values.
        """
        self._span = span_events
        self._threshold, self._gains, self._costs = _scores(
            rate, max(1.0, arl0_events / span_events), usual
        )
        self._n = 0
        self.forget()

    def forget(self) -> None:
        """Reset the sums to zero."""
        self._sums = np.zeros(len(self._gains), dtype=np.int64)
        self._starts = np.full(len(self._gains), self._n, dtype=np.int64)
        self._last = self._n // self._span - 1  # the span of the last value outside

    def observe(self, outside: Ints, n: int) -> CusumAlarm | None:
        """Apply n events; those at ``outside`` (k,) are out of range.  Stops at the first alarm."""
        first = self._n
        self._n += n
        if not len(outside):
            return None
        places: Ints = first + outside
        spans: Ints = places // self._span
        fresh = np.flatnonzero(spans != np.concatenate(([self._last], spans[:-1])))
        places, spans = places[fresh], spans[fresh]
        if not len(spans):
            return None
        # S(k) = gain + max(0, S(k - 1) - cost * spans between): in one pass, exact in integers.
        gaps = np.minimum(np.diff(spans, prepend=self._last) - 1, _LONGEST_GAP)
        paths = np.cumsum(self._gains[:, None] - self._costs[:, None] * gaps, axis=1)
        begins = np.maximum.accumulate(
            np.column_stack((self._sums, self._gains[:, None] - paths)), axis=1
        )[:, 1:]
        sums = paths + begins
        reached = np.flatnonzero((sums >= self._threshold).any(axis=0))
        fired = len(reached) > 0
        k = int(reached[0]) if fired else len(spans) - 1
        # Each sum began at the last position that raised it above the carried value.
        lifted = self._gains[:, None] - paths[:, : k + 1] >= begins[:, k : k + 1]
        renewed = lifted.any(axis=1) & (begins[:, k] > self._sums)
        where = lifted.argmax(axis=1)
        self._starts = np.where(renewed, places[where], self._starts)
        self._sums, self._last = sums[:, k], int(spans[k])
        if not fired:
            return None
        start = int(self._starts[int((sums[:, k] - self._threshold).argmax())])
        self._n = int(places[k]) + 1
        self.forget()
        self._last = int(spans[k])
        return CusumAlarm(int(places[k]) - first, int(places[k]) - start)

    def snapshot(self) -> RateCusumState:
        """The state; it is not changed by later events."""
        return RateCusumState(self._n, self._last, self._sums, self._starts)

    def restore(self, state: RateCusumState) -> None:
        """Continue from `snapshot`.  Raises ValueError where it does not fit."""
        n_rates = len(self._gains)
        if not n_rates == len(state.sums) == len(state.starts):
            raise ValueError("the stored state of a range detector is invalid")
        if min(state.n, state.sums.min(), state.starts.min()) < 0:
            raise ValueError("the stored state of a range detector is invalid")
        self._n, self._last, self._sums, self._starts = (
            state.n,
            state.last,
            state.sums,
            state.starts,
        )
