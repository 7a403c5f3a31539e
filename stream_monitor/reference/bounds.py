"""The value range of a numeric feature in the reference, and its known values.

Beyond a bound of the range, the extrapolated tail of the reference leaves 0.05 events in as many as
the reference has.  The tail beyond a high order statistic is a generalised Pareto distribution
(Pickands, 1975), fitted as Zhang and Stephens do ("A new and efficient estimation method for the
generalized Pareto distribution", Technometrics 51, 2009).  Its shape is raised by standard errors,
so that heavy tails are not underestimated.  A declared range is used as it is.
"""

from __future__ import annotations

import math
from typing import Final, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream_monitor.statistics.dependence import power_of_two
from stream_monitor.statistics.fixed_point import Floats

Hashes: TypeAlias = NDArray[np.uint32]
HalfHashes: TypeAlias = NDArray[np.uint16]
DeclaredRange = tuple[float | None, float | None]
"""The lowest and the highest value that a user allows; ``None``: no bound on that side."""

_BEYOND: Final = 0.05  # events beyond a side, of as many as the reference has
_ERRORS: Final = 2.0  # standard errors by which the shape of a tail is raised
_LEAST_SHAPE: Final = -0.5
_MOST_SHAPE: Final = 3.0
_LEAST_TAIL: Final = 5
_MAX_SPAN: Final = 1024
_MAX_KNOWN: Final = 512
_MAX_FREQUENT: Final = 400
_HASH: Final = np.uint64(0x9E3779B97F4A7C15)
_UNIQUE_SHARE: Final = 0.95
_UNSEEN: Final = 3.0  # rule of three: an event absent from n may have probability 3/n
_FEWEST_UNIQUE: Final = 100
_PER_REFERENCE: Final = 0.03
_LARGEST: Final = 1.7e308


class ValueBounds(msgspec.Struct, frozen=True, kw_only=True):
    """The range of a feature, its known values, and how often events are outside by chance.

    Values below ``low`` and above ``high`` are outside.  Of ``span_events`` events (1 where events
    are independent) at least one is outside with probability at most ``rate``.  ``chance`` is an
    upper bound of the probability of any single value that is not known; 0 where it cannot be
    estimated.  Known are the values that occurred more than once; where values repeat
    (``repeating``), all values that occurred.  Where those are too many, the most frequent are
    known: ``frequent`` has 16 bits of the hash of each.  ``rarer``: how many times rarer than other
    detectors the range detectors may signal by chance.
    """

    low: float
    high: float
    declared: bool = False
    n_outside: int = 0
    span_events: int = 1
    rate: float = 0.0
    chance: float = 0.0
    known: bytes = b""
    frequent: bytes = b""
    repeating: bool = False
    rarer: float = 1.0

    @property
    def known_values(self) -> Floats:
        """The known values, ascending."""
        return np.frombuffer(self.known, dtype="<f8")

    @property
    def frequent_hashes(self) -> HalfHashes:
        """The upper halves of `hashes_of` the most frequent values, ascending."""
        return np.frombuffer(self.frequent, dtype="<u2")


def fit_bounds(
    values: Floats, tau: float, declared: DeclaredRange | None = None, n: int | None = None
) -> ValueBounds:
    """The bounds of valid values (m,), in order of time, with autocorrelation time ``tau``.

    ``n`` is the number of events that they represent, where they are order statistics.
    """
    n = n or len(values)
    low, high = tail_bounds(values, tau, n)
    if declared is not None:
        low = -_LARGEST if declared[0] is None else declared[0]
        high = _LARGEST if declared[1] is None else declared[1]
    span = 1
    if tau > 1:
        span = min(power_of_two(2 * tau), _MAX_SPAN, power_of_two(max(1, len(values) // 64)))
    outside = (values < low) | (values > high)
    n_spans = max(1, n // span)
    hit = len(np.unique(np.flatnonzero(outside) // span))
    chance, known, repeating = repeat_statistics(values, n, tau)
    crowded = repeating and len(known) < len(np.unique(values))
    frequent = np.unique(hashes_of(known) >> 16).astype("<u2") if crowded else known[:0]
    return ValueBounds(
        low=low,
        high=high,
        declared=declared is not None,
        n_outside=int(np.count_nonzero(outside)),
        span_events=span,
        rate=min(0.5, (hit + 1 + math.sqrt(hit)) / n_spans),
        chance=chance,
        known=b"" if crowded else known.astype("<f8").tobytes(),
        frequent=frequent.tobytes(),
        repeating=repeating,
    )


def tail_bounds(values: Floats, tau: float, n: int) -> tuple[float, float]:
    """The bounds beyond which the tails of values (m,), which represent ``n``, leave hardly any.

    >>> low, high = tail_bounds(np.linspace(0.0, 1.0, 3000), 1.0, 3000)
    >>> -0.1 < low <= 0.0, 1.0 <= high < 1.1
    (True, True)
    """
    ordered = np.sort(values)
    with np.errstate(over="ignore"):
        high = _tail(ordered, tau, n)
        low = -_tail(-ordered[::-1], tau, n)
    return max(low, -_LARGEST), min(high, _LARGEST)


def _tail(ordered: Floats, tau: float, n: int) -> float:
    """The bound above ascending values (m,)."""
    m = len(ordered)
    highest = float(ordered[-1])
    n_tail = max(_LEAST_TAIL, min(m // 10, int(3 * math.sqrt(m))))
    if n_tail >= m:
        return highest
    threshold = float(ordered[-n_tail - 1])
    excesses = ordered[ordered > threshold] - threshold
    n_tail = len(excesses)
    if n_tail < _LEAST_TAIL or not math.isfinite(float(excesses[-1])):
        return highest  # its highest value occurs many times
    shape, scale = _pareto_tail(excesses / excesses[-1])
    # Of dependent events the extremes cluster less than the rest does.
    error = (1 + max(shape, _LEAST_SHAPE)) * math.sqrt(max(1.0, tau / 4) / n_tail)
    shape = min(max(shape + _ERRORS * error, _LEAST_SHAPE), _MOST_SHAPE)
    ratio = n_tail / m * n / _BEYOND
    reach = math.log(ratio) if abs(shape) < 1e-6 else math.expm1(shape * math.log(ratio)) / shape
    return max(highest, threshold + float(excesses[-1]) * scale * reach)


def _pareto_tail(excesses: Floats) -> tuple[float, float]:
    """Shape and scale of a generalised Pareto distribution, from ascending positive values (k,)."""
    k = len(excesses)
    n_grid = 20 + int(math.sqrt(k))
    grid = 1 - np.sqrt(n_grid / (np.arange(1, n_grid + 1) - 0.5))
    grid = 1 / excesses[-1] + grid / (3 * excesses[(k + 2) // 4 - 1])
    shapes = np.log1p(-grid[:, None] * excesses).mean(axis=1)
    grid, shapes = grid[shapes != 0], shapes[shapes != 0]
    likelihoods = k * (np.log(-grid / shapes) - shapes - 1)
    weights = 1 / np.exp(likelihoods - likelihoods[:, None]).clip(max=1e300).sum(axis=1)
    theta = float((grid * weights).sum() / weights.sum())
    shape = float(np.log1p(-theta * excesses).mean())
    return shape, -shape / theta if theta else float(excesses.mean())


def repeat_statistics(values: Floats, n: int, tau: float = 1.0) -> tuple[float, Floats, bool]:
    """The probability of an unknown value, the known values, and whether values (m,) repeat.

    Where hardly any value repeats, the probability follows from the number of values that occurred
    twice (Good, 1953), at least 3 % of one event of the reference; values that occurred once are
    not known.  Where values repeat, all of them are known, or the most frequent ones; the others
    occurred at most c times and have a probability of at most (c + 1) / n, at least that of the
    rule of three.  Where ``values`` that repeat are order statistics of more, it is 0 (unknown).

    >>> values = np.append(np.linspace(0, 1, 990), np.zeros(10))
    >>> chance, known, repeat = repeat_statistics(values, 1000)
    >>> round(chance, 6), known.tolist(), repeat
    (3e-05, [0.0], False)
    >>> repeat_statistics(np.arange(1000.0) % 4, 1000)[2]
    True
    >>> values = np.append(np.arange(900.0), np.arange(200.0))
    >>> chance, known, repeat = repeat_statistics(values, 1100)
    >>> round(1100 * chance, 6), len(known), repeat
    (3.0, 200, True)
    """
    distinct, counts = np.unique(values, return_counts=True)
    once, twice = (int(np.count_nonzero(counts == k)) for k in (1, 2))
    known = distinct[counts > 1]
    if once >= max(_FEWEST_UNIQUE, _UNIQUE_SHARE * (once + 2 * twice)) and len(known) <= _MAX_KNOWN:
        n_rest = (once + 2 * twice) * n / len(values)
        return max(_PER_REFERENCE, 2 * (twice + 3) / once) / n_rest, known, False
    if len(values) < n:
        return 0.0, known[:0], False
    most = 0  # occurrences of an unknown value
    if len(distinct) > _MAX_KNOWN:
        most = int(np.partition(counts, -_MAX_FREQUENT - 1)[-_MAX_FREQUENT - 1])
    return min(0.5, max(_UNSEEN, most + 1) * tau / n), distinct[counts > most], True


def hashes_of(values: Floats) -> Hashes:
    """A hash of 32 bits of each of finite values (n,); equal numbers have equal ones.

    >>> hashes_of(np.array([0.0, -0.0, 999.0])).tolist()
    [0, 0, 3672086528]
    """
    return ((values + 0.0).view(np.uint64) * _HASH >> np.uint64(32)).astype(np.uint32)
