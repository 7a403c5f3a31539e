"""How unlikely a count is: overdispersed counts, and the largest values seen so far."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

_FACTOR: Final = 1.5  # times the largest value seen: a slightly larger value is no finding


def deviance(count: float, expected: float, dispersion: float) -> float:
    """How unlikely a count is: the probability of one as extreme is below exp(-deviance).

    The counts are negative binomial, of mean m and variance m + dispersion m².  Chernoff's bound
    on its tails (Annals of Mathematical Statistics 23, 1952) holds at every size, on both sides;
    for a count of 0 it is the probability itself.

    >>> round(deviance(0, 20.0, 0.0), 3), round(deviance(0, 20.0, 0.1), 3)
    (20.0, 10.986)
    >>> round(deviance(50, 100.0, 0.0), 1), round(deviance(50, 100.0, 0.05), 1)
    (15.3, 3.1)
    """
    if expected <= 0:
        return 0.0 if count <= 0 else math.inf
    of_count = count * math.log(count / expected) if count > 0 else 0.0
    if dispersion <= 1e-9:
        return max(0.0, of_count - count + expected)
    spread = math.log((1 + dispersion * count) / (1 + dispersion * expected))
    return max(0.0, of_count - (count + 1 / dispersion) * spread)


class Extremes:
    """The largest of n values of a statistic, in this span of time and the one before.

    The values seen include what the model of counts leaves out (dependence, batches, nights): if
    their tail is exponential with any scale, the largest of n values is near ln n scales, and a
    value of probability exp(-chance) near ``chance`` scales.
    """

    def __init__(self, span_buckets: int) -> None:
        self._span_buckets = max(1, span_buckets)
        self._span = 0
        self._n = [0.0, 0.0]
        self._largest = [0.0, 0.0]

    @property
    def largest(self) -> float:
        """The largest value that is remembered."""
        return max(self._largest)

    @property
    def n(self) -> float:
        """How many values are remembered."""
        return sum(self._n)

    def learn(self, bucket: int, value: float, n: float = 1.0) -> None:
        """Remember ``n`` values of the bucket; ``value`` is the largest of them."""
        span = bucket // self._span_buckets
        if span != self._span:
            if self.n:
                self._n, self._largest = [0.0, self._n[0]], [0.0, self._largest[0]]
            self._span = span
        self._n[0] += n
        self._largest[0] = max(self._largest[0], value)

    def limit(self, chance: float, factor: float = _FACTOR) -> float:
        """The value beyond which neither the model nor the values seen explain it by chance.

        >>> seen = Extremes(1000)
        >>> for value in (1.0, 6.0, 2.0):
        ...     seen.learn(0, value, 100)
        >>> round(seen.limit(18.0), 1), round(Extremes(1000).limit(18.0), 1)
        (18.9, 18.0)
        """
        scales = math.log(math.e + self.n)
        return max(chance, self.largest * max(factor, chance / scales))

    def snapshot(self) -> list[Any]:
        """The state as plain data."""
        return [self._span, list(self._n), list(self._largest)]

    def restore(self, data: Sequence[Any]) -> None:
        """Continue from `snapshot`."""
        span, n, largest = data
        if len(n) != 2 or len(largest) != 2 or not all(map(math.isfinite, [*n, *largest])):
            raise ValueError("volume: the largest values do not read back")
        self._span, self._n, self._largest = int(span), list(n), list(largest)


def neg_log_probability(arl0: float) -> float:
    """Minus the logarithm of the false-alarm probability of one value: one in ``arl0``."""
    return math.log(max(2.0, arl0))
