"""Mergeable statistics of one feature, in integers, so that the order of merging is irrelevant."""

from __future__ import annotations

from math import isqrt
from operator import mul
from typing import Final

import msgspec
import numpy as np

from stream_monitor.ingest.batch import Ints
from stream_monitor.reference.feature_reference import FeatureReference
from stream_monitor.reference.transform import BinTable, Transformed
from stream_monitor.statistics.fixed_point import FIXED_POINT

_FEW_EVENTS: Final = 256
_LOW_BITS: Final = 20
_WORD_BITS: Final = 62  # a sum of squares may exceed 64 bits: it is stored as two words


class FeatureStatistics(msgspec.Struct, array_like=True):
    """Count, invalid, histogram and moments of one feature's values.

    ``bins`` has shape (B,).  ``sum1``, the sum of squares ``sum2``, ``minimum`` and ``maximum`` are
    of the scaled fixed-point values of a numeric feature; the latter two are ``None`` without any.
    """

    count: int
    invalid: int
    bins: Ints
    sum1: int = 0
    sum2_high: int = 0
    sum2_low: int = 0
    minimum: int | None = None
    maximum: int | None = None

    @property
    def sum2(self) -> int:
        """The sum of squares."""
        return (self.sum2_high << _WORD_BITS) + self.sum2_low

    def add_squares(self, total: int) -> None:
        """Add to the sum of squares."""
        self.sum2_high, self.sum2_low = divmod(self.sum2 + total, 1 << _WORD_BITS)

    def merge(self, other: FeatureStatistics) -> None:
        """Add the statistics of ``other``; exactly associative and commutative."""
        self.count += other.count
        self.invalid += other.invalid
        self.bins += other.bins
        self.sum1 += other.sum1
        self.add_squares(other.sum2)
        if other.minimum is not None and (self.minimum is None or other.minimum < self.minimum):
            self.minimum = other.minimum
        if other.maximum is not None and (self.maximum is None or other.maximum > self.maximum):
            self.maximum = other.maximum

    def mean(self, reference: FeatureReference) -> float | None:
        """Mean in the feature's own unit; ``None`` where there is none."""
        if self.minimum is None:
            return None
        return self.sum1 / self.count / FIXED_POINT * reference.scale + reference.centre

    def sd(self, reference: FeatureReference) -> float | None:
        """Sample standard deviation (n - 1), in the feature's own unit; 0 for one value."""
        if self.minimum is None:
            return None
        if self.count == 1:
            return 0.0
        # Exact up to the root: no cancellation, however far the values are from the centre.
        scatter = self.count * self.sum2 - self.sum1 * self.sum1
        root = isqrt(scatter << 64) / (1 << 32)
        pairs = self.count * (self.count - 1)
        return float(root / pairs**0.5 / FIXED_POINT * abs(reference.scale))

    def require_fit(self, n_bins: int, n_events: int) -> None:
        """Raise ValueError unless these are statistics of ``n_events`` in so many bins."""
        if len(self.bins) != n_bins or int(self.bins.sum()) != self.count:
            raise ValueError("window statistics: the bins do not fit the reference or the count")
        if self.count + self.invalid != n_events or min(self.invalid, *self.bins.tolist()) < 0:
            raise ValueError("window statistics: the counts are invalid")
        if (self.minimum is None) != (self.maximum is None):
            raise ValueError("window statistics: a minimum without a maximum")
        if self.count * self.sum2 < self.sum1 * self.sum1:
            raise ValueError("window statistics: the sums are inconsistent")


def statistics_of(
    transformed: Transformed, bin_table: BinTable, n_bins: int, groups: Ints, n_groups: int
) -> list[FeatureStatistics]:
    """The statistics of every group of events, shape (n_groups,), in one pass over the columns.

    ``groups`` (n,) numbers the group of every event, valid or not, from 0; ``bin_table`` maps an
    index of the transform to its bin.  Scaled values must lie within +-2^40, at most 2^22 of them.
    """
    if n_groups == 1 and len(groups) <= _FEW_EVENTS:
        return [_statistics_of_few(transformed, bin_table, n_bins)]
    valid = groups[transformed.valid] if len(transformed.index) < len(groups) else groups
    codes = valid * n_bins + bin_table[transformed.index]
    bins = np.bincount(codes, minlength=n_groups * n_bins).reshape(n_groups, n_bins)
    counts = bins.sum(axis=1)
    invalid = np.bincount(groups, minlength=n_groups) - counts
    result = [FeatureStatistics(int(counts[i]), int(invalid[i]), bins[i]) for i in range(n_groups)]
    if transformed.scaled is not None and len(valid):
        _add_moments(result, transformed.scaled, valid, counts)
    return result


def _statistics_of_few(
    transformed: Transformed, bin_table: BinTable, n_bins: int
) -> FeatureStatistics:
    """The same in plain Python: each array operation has a cost of its own."""
    n_valid, n = len(transformed.index), len(transformed.valid)
    bins = np.bincount(bin_table.take(transformed.index), minlength=n_bins)
    statistics = FeatureStatistics(n_valid, n - n_valid, bins)
    if transformed.scaled is not None and n_valid:
        plain: list[int] = transformed.scaled.tolist()
        statistics.sum1 = sum(plain)
        statistics.add_squares(sum(map(mul, plain, plain)))
        statistics.minimum, statistics.maximum = min(plain), max(plain)
    return statistics


def _add_moments(result: list[FeatureStatistics], scaled: Ints, groups: Ints, counts: Ints) -> None:
    """Sums and extremes per group, exact in 64 bits."""
    if len(result) > 1:
        scaled = scaled[np.argsort(groups, kind="stable")]
    present = np.flatnonzero(counts)
    starts = (np.cumsum(counts) - counts)[present]
    sums = np.add.reduceat(scaled, starts).tolist()
    minima = np.minimum.reduceat(scaled, starts).tolist()
    maxima = np.maximum.reduceat(scaled, starts).tolist()
    squares = _squares(scaled, starts, max(*map(abs, minima), *map(abs, maxima)))
    for i, group in enumerate(present.tolist()):
        statistics = result[group]
        statistics.sum1 = sums[i]
        statistics.add_squares(squares[i])
        statistics.minimum, statistics.maximum = minima[i], maxima[i]


def _squares(scaled: Ints, starts: Ints, largest: int) -> list[int]:
    """Sums of squares per group.  A square may need 80 bits: then it is summed in three parts."""
    if largest * largest * len(scaled) < 1 << 63:
        plain: list[int] = np.add.reduceat(scaled * scaled, starts).tolist()
        return plain
    high = scaled >> _LOW_BITS
    low = scaled & ((1 << _LOW_BITS) - 1)
    parts = (np.add.reduceat(x, starts).tolist() for x in (high * high, high * low, low * low))
    return [
        (hh << 2 * _LOW_BITS) + (hl << _LOW_BITS + 1) + ll
        for hh, hl, ll in zip(*parts, strict=True)
    ]


def expected_sums(losses: Ints | None, groups: Ints, n_groups: int) -> list[tuple[int, int]]:
    """The number of events with an expected loss, and the sum of these losses, by group.

    ``losses`` (n,) are in fixed point, -1 where unknown.

    >>> expected_sums(np.array([5, -1, 7]), np.array([0, 0, 1]), 2)
    [(1, 5), (1, 7)]
    """
    if losses is None:
        return [(0, 0)] * n_groups
    known = losses >= 0
    groups, losses = groups[known], losses[known]
    counts = np.bincount(groups, minlength=n_groups).tolist()
    # Exact: a batch's losses add up to far less than 2^53.
    sums = np.bincount(groups, weights=losses, minlength=n_groups).tolist()
    return [(count, int(total)) for count, total in zip(counts, sums, strict=True)]
