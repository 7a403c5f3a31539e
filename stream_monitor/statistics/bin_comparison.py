"""Compares the bins of a closed window with those of the reference.

Consecutive values may depend on each other, so every test divides both sample sizes by the
autocorrelation time tau.  With many events a tiny change is significant, so drift also requires a
minimum effect.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from math import sqrt
from typing import Final, NamedTuple

from scipy.special import chdtrc, kolmogorov

from stream_monitor.statistics.distance import distances

ALPHA: Final = 0.01
"""The probability of a false finding in any feature of a window in which nothing changed."""
MIN_EFFECT: Final = 0.02
"""The adjusted population stability index of a normal mean that moved by 0.14 sd."""


class BinComparison(NamedTuple):
    """A window's bins against those of the reference.

    ``chi_square`` and ``chi_square_p`` are of the two-sample test.  Where bins have an order,
    ``wasserstein`` is the distance (Wasserstein-1) between both in the unit of the positions, and
    ``ks`` the largest distance of the cumulative shares (Kolmogorov-Smirnov), with its p-value,
    which on bins is conservative.
    """

    psi: float
    effect: float
    jensen_shannon: float
    chi_square: float
    chi_square_p: float
    wasserstein: float | None
    ks: float | None
    ks_p: float | None
    drifted: bool


def compare_bins(
    bins: Sequence[int],
    reference_bins: Sequence[int],
    tau: float,
    *,
    positions: Sequence[float] | None,
    n_features: int,
) -> BinComparison:
    """Compare two histograms; ``positions`` are those of the bins, ``None`` for categories.

    ``n_features`` are tested together: each at `ALPHA` divided by that number (Bonferroni).

    >>> found = compare_bins([10, 20, 70], [100, 100, 100], 1.0, positions=(-1, 0, 1), n_features=1)
    >>> found.drifted, round(found.wasserstein, 3), round(found.ks, 3)
    (True, 0.6, 0.367)
    """
    psi, effect, divergence = distances(bins, reference_bins, tau)
    n_events, n_reference = sum(bins), sum(reference_bins)
    if not n_events or not n_reference:
        return BinComparison(psi, effect, divergence, 0.0, 1.0, None, None, None, drifted=False)
    p = [count / n_events for count in bins]
    q = [count / n_reference for count in reference_bins]
    unit = tau * (1 / n_events + 1 / n_reference)
    statistic, freedom = _chi_square(p, q, n_events, n_reference)
    statistic /= tau
    # chdtrc and kolmogorov are those of scipy.stats without its checks of the arguments.
    chi_square_p = float(chdtrc(freedom, statistic)) if freedom else 1.0
    wasserstein = ks = ks_p = None
    if positions is not None:
        gaps = [abs(x - y) for x, y in zip(accumulate(p), accumulate(q), strict=True)][:-1]
        widths = [after - before for before, after in pairwise(positions)]
        wasserstein = sum(gap * width for gap, width in zip(gaps, widths, strict=True))
        ks = max(gaps, default=0.0)
        ks_p = float(kolmogorov(ks / sqrt(unit)))
    drifted = chi_square_p < ALPHA / max(1, n_features) and effect >= MIN_EFFECT
    return BinComparison(
        psi, effect, divergence, statistic, chi_square_p, wasserstein, ks, ks_p, drifted
    )


def _chi_square(
    p: Sequence[float], q: Sequence[float], n_events: int, n_reference: int
) -> tuple[float, int]:
    """The two-sample statistic of independent events, and its degrees of freedom."""
    total = 0.0
    n_seen = 0
    for x, y in zip(p, q, strict=True):
        pooled = (n_events * x + n_reference * y) / (n_events + n_reference)
        if pooled > 0:
            n_seen += 1
            total += (x - y) ** 2 / pooled
    return total / (1 / n_events + 1 / n_reference), n_seen - 1
