"""Dependence between consecutive events, and the block length that it requires."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from scipy import fft

from stream_monitor.statistics.fixed_point import Floats

_MAX_LAGS: Final = 2000
_MIN_BLOCK: Final = (
    8  # longer blocks delay large changes, shorter ones cost more and find nothing sooner
)
_MIN_BLOCKS: Final = 32
SKEW_BLOCK_FACTOR: Final = 0.25  # of the skew; thresholds account for the rest


def autocorrelation_time(values: Floats) -> float:
    """Integrated autocorrelation time tau in events, >= 1: n events count as n / tau.

    Geyer, "Practical Markov chain Monte Carlo", 1992: correlations of lags 2j and 2j + 1 are added
    up while their sum is positive.  Values that independent data give by chance count as 1.
    """
    n = len(values)
    deviations = values - values.mean()
    power = float(deviations @ deviations)
    if n < 8 or power <= 0:
        return 1.0
    lags = min(n // 4, _MAX_LAGS) // 2 * 2
    size = fft.next_fast_len(n + lags, real=True)
    spectrum = fft.rfft(deviations, size)
    covariances = fft.irfft(np.abs(spectrum) ** 2, size)[:lags]
    pairs = (covariances[0::2] + covariances[1::2]) / power
    falls = np.flatnonzero(pairs <= 0)
    end = int(falls[0]) if len(falls) else len(pairs)
    tau = -1 + 2 * float(pairs[:end].sum())
    return tau if tau >= 1 + 12 * math.sqrt(2 / n) else 1.0


def block_length(n: int, tau: float, skew: float) -> int:
    """Events per block: a power of two, at least 8, at least 3 tau, and long enough for the skew.

    2 tau would suffice, but tau is an estimate: an underestimate would raise repeated alarms.

    >>> block_length(10_000, 1.0, 0.1), block_length(10_000, 19.0, 0.1), block_length(300, 19.0, 0)
    (8, 64, 8)
    """
    wanted = max(
        float(_MIN_BLOCK), 3 * tau if tau > 1 else 0.0, SKEW_BLOCK_FACTOR * skew * skew * tau
    )
    longest = max(_MIN_BLOCK, 1 << max(0, n // _MIN_BLOCKS).bit_length() - 1)
    return min(power_of_two(wanted), longest)


def power_of_two(at_least: float) -> int:
    """The smallest power of two that is at least ``at_least``.

    >>> power_of_two(8.0), power_of_two(8.1)
    (8, 16)
    """
    return int(1 << max(0, math.ceil(at_least) - 1).bit_length())


def block_means(values: Floats, block: int) -> Floats:
    """Means of consecutive full blocks; a last partial block is dropped."""
    n_blocks = len(values) // block
    means: Floats = values[: n_blocks * block].reshape(n_blocks, block).mean(axis=1)
    return means


def tie_statistics(values: Floats) -> tuple[float, int]:
    """Return the share of pairs of equal values that become runs of three, and the longest run.

    The share errs upwards (Laplace's rule), because a short reference shows few runs.

    >>> tie_statistics(np.array([1.0, 2.0, 2.0, 2.0, 3.0]))
    (0.5, 3)
    """
    tied = values[1:] == values[:-1]
    chances = int(np.count_nonzero(tied[:-1]))
    repeats = int(np.count_nonzero(tied[:-1] & tied[1:]))
    edges = np.flatnonzero(np.concatenate(([True], ~tied, [True])))
    return (repeats + 1) / (chances + 2), int(np.diff(edges).max())


def variance_inflation(blocks: Floats) -> float:
    """The factor, >= 1, by which the remaining dependence of block means raises their variance."""
    deviations = blocks - blocks.mean()
    power = float(deviations @ deviations)
    if len(blocks) < 2 or power <= 0:
        return 1.0
    return 1 + 2 * max(0.0, float(deviations[1:] @ deviations[:-1]) / power)


def skewness(values: Floats) -> float:
    """Third standardised moment; 0 for a constant.

    >>> skewness(np.array([0.0, 0.0, 0.0, 1.0])) > 1
    True
    """
    return _standardised_moment(values, 3, 0.0)


def kurtosis(values: Floats) -> float:
    """Fourth standardised moment, 3 for a normal distribution; 1 for a constant."""
    return _standardised_moment(values, 4, 1.0)


def _standardised_moment(values: Floats, power: int, of_constant: float) -> float:
    deviations = values - values.mean()
    sd = math.sqrt(float(np.mean(deviations**2)))
    if sd <= 1e-12 * (1 + abs(float(values.mean()))):
        return of_constant
    return float(np.mean((deviations / sd) ** power))
