"""How unlikely a count is: overdispersed counts, and the largest values seen so far."""

from __future__ import annotations

import math
from typing import Final

import msgspec

_FACTOR: Final = 1.5  # times the largest value seen: a slightly larger value is no finding


def deviance(count: float, expected: float, dispersion: float) -> float:
    """Return the deviance of a count: the probability of one as extreme is below exp(-deviance).

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


class Extremes(msgspec.Struct, array_like=True):
    """The largest of n values of a statistic, in the current and the previous span of time.

    The values seen include what the model of counts leaves out (dependence, batches, nights): if
    their tail is exponential with any scale, the largest of n values is near ln n scales, and a
    value of probability exp(-chance) near ``chance`` scales.
    """

    span_buckets: int
    span: int = 0
    n_by_span: tuple[float, float] = (0.0, 0.0)
    largest_by_span: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (*self.n_by_span, *self.largest_by_span))):
            raise ValueError("volume: the stored largest values are invalid")

    @property
    def largest(self) -> float:
        """The largest value of both spans."""
        return max(self.largest_by_span)

    @property
    def n(self) -> float:
        """The number of values in both spans."""
        return sum(self.n_by_span)

    def learn(self, bucket: int, value: float, n: float = 1.0) -> None:
        """Remember ``n`` values of the bucket; ``value`` is the largest of them."""
        span = bucket // max(1, self.span_buckets)
        if span != self.span:
            if self.n:
                self.n_by_span = (0.0, self.n_by_span[0])
                self.largest_by_span = (0.0, self.largest_by_span[0])
            self.span = span
        self.n_by_span = (self.n_by_span[0] + n, self.n_by_span[1])
        self.largest_by_span = (max(self.largest_by_span[0], float(value)), self.largest_by_span[1])

    def limit(self, chance: float, factor: float = _FACTOR) -> float:
        """Return the limit that neither ``chance`` nor the values seen so far explain exceeding.

        >>> seen = Extremes(1000)
        >>> for value in (1.0, 6.0, 2.0):
        ...     seen.learn(0, value, 100)
        >>> round(seen.limit(18.0), 1), round(Extremes(1000).limit(18.0), 1)
        (18.9, 18.0)
        """
        scales = math.log(math.e + self.n)
        return max(chance, self.largest * max(factor, chance / scales))


def neg_log_probability(arl0: float) -> float:
    """Minus the logarithm of the false-alarm probability of one value: one in ``arl0``."""
    return math.log(max(2.0, arl0))
