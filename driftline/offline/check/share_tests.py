"""Exact tests of counts: values that a reference does not have, and rare categories.  Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from scipy.stats import fisher_exact

from stream_monitor.statistics.fixed_point import Floats

_FEW: Final = 5.0
_REPEATS: Final = 3


class ShareComparison(NamedTuple):
    """The shares of some values in both files; ``example`` is such a value, or describes them."""

    before: float
    now: float
    p_value: float
    example: str = ""


def values_out_of_range(before: Floats, now: Floats, tau: float) -> ShareComparison:
    """The share of values of ``now`` (m,) outside the range of ``before`` (n,).

    Of exchangeable values of any distribution, k or more of m lie outside with a probability of at
    most (k + 1) (m / (n + m))^k.

    >>> values_out_of_range(np.arange(1000.0), np.append(np.arange(960.0), [-999.0] * 40), 1.0).now
    0.04
    """
    if not len(before) or not len(now):
        return ShareComparison(0.0, 0.0, 1.0)
    outside = now[(now < before.min()) | (now > before.max())]
    k, n, m = len(outside) / tau, len(before) / tau, len(now) / tau
    p_value = min(1.0, (k + 1) * (m / (n + m)) ** k)
    share = len(outside) / len(now)
    text = (
        f"{share:.1%} of values are outside {before.min():.6g} to {before.max():.6g}, "
        f"for example {outside[0]:.6g}; before, none was"
        if len(outside)
        else ""
    )
    return ShareComparison(0.0, share, p_value, text)


def new_repeated_value(before: Floats, now: Floats, tau: float) -> ShareComparison:
    """The share of the most frequent repeated value of ``now`` (m,) that ``before`` (n,) lacks.

    The p-value is corrected for the number of values in both that are as frequent.

    >>> new_repeated_value(np.arange(1000.0), np.array([-999.0] * 40 + [7.5] * 960), 1.0).example
    '96.0% of values are 7.5, none before'
    >>> few = np.append(np.linspace(0.1, 0.9, 2985), [1e12] * 15)  # 0.5 % of a continuous feature
    >>> new_repeated_value(np.linspace(0.0, 1.0, 3000), few, 1.0).p_value < 1e-4
    True
    """
    values, counts = np.unique(now, return_counts=True)
    new = ~np.isin(values, before)
    values, counts = values[new], counts[new]
    if not len(values) or counts.max() < _REPEATS:
        return ShareComparison(0.0, 0.0, 1.0)
    top = int(counts.argmax())
    p_value = fisher_p_value(0, len(before), int(counts[top]), len(now), tau)
    share = int(counts[top]) / len(now)
    text = f"{share:.1%} of values are {values[top]:.6g}, none before"
    as_often = np.unique(np.concatenate((before, now)), return_counts=True)[1] >= counts[top]
    return ShareComparison(0.0, share, min(1.0, p_value * int(np.count_nonzero(as_often))), text)


def fisher_p_value(hits: int, n: int, more_hits: int, m: int, tau: float) -> float:
    """Fisher's two-sided p-value of equal shares; both samples are divided by ``tau``."""
    one, other = round(hits / tau), round(more_hits / tau)
    table = [[one, round(n / tau) - one], [other, max(other, round(m / tau)) - other]]
    return float(fisher_exact(np.array(table)).pvalue)


def rare_category_p_value(
    now: Sequence[int], before: Sequence[int], tau: float, otherwise: float
) -> float:
    """The p-value of two equal distributions of counts, exact if some counts are small.

    If every count is large, it is ``otherwise``, the p-value of the chi-square test.
    """
    n, m = sum(before), sum(now)
    if not n or not m:
        return otherwise
    expected = [(a + b) * min(n, m) / (n + m) / tau for a, b in zip(before, now, strict=True)]
    if min(expected) >= _FEW:
        return otherwise
    exact = min(fisher_p_value(b, n, a, m, tau) for a, b in zip(now, before, strict=True))
    return min(1.0, exact * len(expected))
