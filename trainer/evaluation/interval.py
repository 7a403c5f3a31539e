"""The confidence interval of a mean over dependent values in order of time."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft, stats

from stream_monitor.statistics.dependence import autocorrelation_time

MIN_FREQUENCIES: Final = 4
_CORRELATION_TIMES_PER_FREQUENCY: Final = 4.0
"""Autocorrelation times for each frequency; with fewer the spectrum is not flat enough."""
MIN_EFFECTIVE_N: Final = MIN_FREQUENCIES * _CORRELATION_TIMES_PER_FREQUENCY
"""With fewer effectively independent values the interval is too short: see `mean_interval`."""


class Interval(NamedTuple):
    """A mean and its interval.  ``effective_n`` is n divided by the autocorrelation time."""

    mean: float
    low: float
    high: float
    effective_n: float


def mean_interval(values: NDArray[np.float64], confidence: float) -> Interval:
    """Return the mean of ``values`` (n,), in order of time, and its central interval.

    The long-run variance is the mean of the first squared cosine coefficients, as many as degrees
    of freedom of Student's t: Lazarus, Lewis, Stock and Watson, "HAR inference: recommendations
    for practice", 2018.  Their 0.4 n^(2/3) coefficients are too many for strongly dependent events,
    so there is at most one per four autocorrelation times.  Measured on AR(1), n = 2,000: with
    correlation 0.98 the 95 % interval contains the mean in 93.5 % of cases (69.8 % without this
    rule), with 0.995 in 89.5 % (38.3 %).

    Deterministic.  The interval of a constant has length zero.

    >>> mean_interval(np.tile([0.0, 1.0], 50), 0.95).mean
    0.5

    Raises:
        ValueError: fewer than eight values, a value that is not finite, or a confidence outside
            (0, 1).
    """
    n = len(values)
    if n < 2 * MIN_FREQUENCIES or not np.isfinite(values).all():
        raise ValueError(f"{n} values: an interval needs at least 8, all finite")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence} is not between 0 and 1")
    mean = float(values.mean())
    tau = autocorrelation_time(values)
    n_frequencies = int(
        max(MIN_FREQUENCIES, min(0.4 * n ** (2 / 3), n / (_CORRELATION_TIMES_PER_FREQUENCY * tau)))
    )
    spectrum = fft.dct(values - mean, type=2, norm="ortho")[1 : n_frequencies + 1]
    error = math.sqrt(float(np.mean(spectrum**2)) / n)
    half_width = error * float(stats.t.ppf((1 + confidence) / 2, n_frequencies))
    return Interval(mean, mean - half_width, mean + half_width, n / tau)
