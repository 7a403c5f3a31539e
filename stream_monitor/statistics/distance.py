"""Distances between binned events and binned reference events.

Half an event is added to every bin, so that an empty one does not make the distance infinite.
There are at most about ten bins: plain arithmetic is faster here than arrays.

Source: the population stability index of credit scoring; its null distribution is that of a
two-sample chi-square, with both sample sizes divided by the integrated autocorrelation time tau
where events depend on each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import log
from typing import Final, NamedTuple

from scipy.special import chdtrc

_SMOOTHING: Final = 0.5


class Distances(NamedTuple):
    """The distances between two histograms.

    ``psi`` is the population stability index, the sum of (p - q) ln(p / q): a normal mean that
    shifts by d standard deviations gives about d squared.  ``effect`` is that of `psi_adjusted`.
    ``jensen_shannon`` is the Jensen-Shannon divergence in nats: 0 for equal shares, at most ln 2.
    """

    psi: float
    effect: float
    jensen_shannon: float


def psi_adjusted(
    bins: Iterable[int], reference_bins: Iterable[int], tau: float
) -> tuple[float, float]:
    """Effect and p-value: the index without the bias of finite samples, and its significance.

    ``effect`` is PSI - (B - 1) tau (1/W + 1/n) for B bins, W events and n reference events; it is
    around zero, on either side, where nothing changed.  The p-value is that of a chi-square with
    B - 1 degrees of freedom.  Without events, or with a single bin, it is (0, 1).
    """
    counts, reference = list(bins), list(reference_bins)
    unit = _unit(counts, reference, tau)
    if unit is None:
        return 0.0, 1.0
    index = _psi(_shares(counts), _shares(reference))
    freedom = len(counts) - 1
    # chdtrc is chi2.sf without the 60 us that scipy.stats spends on checking its arguments.
    return index - freedom * unit, float(chdtrc(freedom, index / unit))


def rounded_effect(effect: float, digits: int = 6) -> float:
    """An effect as it is published: a negative one, which is chance, becomes 0.

    >>> rounded_effect(-0.0312), rounded_effect(0.1234567)
    (0.0, 0.123457)
    """
    return round(effect, digits) if effect > 0 else 0.0


def distances(bins: Sequence[int], reference_bins: Sequence[int], tau: float) -> Distances:
    """All distances of ``bins`` from ``reference_bins``; zeros without events.

    Raises ValueError where the numbers of bins differ.

    >>> found = distances([10, 20, 30], [20, 20, 20], 1.0)
    >>> round(found.psi, 3), round(found.jensen_shannon, 4)
    (0.173, 0.0214)
    """
    unit = _unit(bins, reference_bins, tau)
    if unit is None:
        return Distances(0.0, 0.0, 0.0)
    p, q = _shares(bins), _shares(reference_bins)
    index = _psi(p, q)
    return Distances(index, index - (len(p) - 1) * unit, _jensen_shannon(p, q))


def _unit(bins: Sequence[int], reference_bins: Sequence[int], tau: float) -> float | None:
    """The mean of the index per degree of freedom where nothing changed; ``None`` without any."""
    n_events, n_reference = sum(bins), sum(reference_bins)
    if not n_events or not n_reference or len(bins) < 2:
        return None
    return tau * (1 / n_events + 1 / n_reference)


def _psi(p: list[float], q: list[float]) -> float:
    return sum([(x - y) * log(x / y) for x, y in zip(p, q, strict=True)])


def _jensen_shannon(p: list[float], q: list[float]) -> float:
    total = 0.0
    for x, y in zip(p, q, strict=True):
        middle = (x + y) / 2
        total += x * log(x / middle) + y * log(y / middle)
    return max(0.0, total / 2)


def _shares(bins: Sequence[int]) -> list[float]:
    total = sum(bins) + _SMOOTHING * len(bins)
    return [(count + _SMOOTHING) / total for count in bins]
