"""The expected loss of a prediction before its label arrives.

A calibration of out-of-fold scores: predictions are put into at most 50 bins, and each bin has the
share of its reference rows that were wrong.  It is valid as long as outcomes depend on inputs as in
the reference.  Concept drift, a change of this dependence, shows in the ``residual`` channel of the
loss: the loss minus the expected loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import msgspec
import numpy as np

from stream_monitor.reference.feature_reference import FeatureReference
from stream_monitor.reference.transform import Transformed
from stream_monitor.reference.validation import validate_feature
from stream_monitor.statistics.fixed_point import FIXED_POINT, Ints

MAX_LOSS_BINS: Final = 50


class ExpectedLoss(msgspec.Struct, frozen=True, kw_only=True):
    """The expected loss of a prediction, by bins of its index in ``confidence`` or in the score.

    Bin i begins at index ``starts[i]``; ``outcome`` is the reference of the loss by these bins, and
    contains the expected loss of each.  ``confidence`` is the reference of the probability of the
    predicted class, where predictions are maps of several classes; otherwise the index is that of
    the profile's prediction.
    """

    starts: tuple[int, ...]
    outcome: FeatureReference
    confidence: FeatureReference | None = None


def validate_expected_loss(expected: ExpectedLoss, prediction: FeatureReference | None) -> None:
    """Raise ValueError unless losses can be looked up in ``expected``."""
    reference = expected.confidence or prediction
    if reference is None:
        raise ValueError("expected loss: the profile has no prediction")
    validate_feature(expected.outcome)
    if expected.confidence is not None:
        validate_feature(expected.confidence)
    starts, n_bins = expected.starts, len(expected.outcome.expected_losses)
    if expected.outcome.kind != "outcome" or len(starts) + 1 != n_bins:
        raise ValueError("expected loss: its bins do not match those of the outcome")
    ascending = all(a < b for a, b in pairwise(starts))
    if starts[0] != 0 or not ascending or starts[-1] >= reference.n_indices:
        raise ValueError("expected loss: bins overlap")


def mean_expected_loss(outcome: FeatureReference, cells: Sequence[int] | Ints) -> float:
    """The mean expected loss of predictions with these counts in the cells of an outcome."""
    per_bin = np.array(cells).reshape(-1, 2).sum(axis=1)
    total = int(per_bin @ np.array(outcome.expected_losses))
    return total / max(1, int(per_bin.sum())) / FIXED_POINT


class ExpectedLossTable:
    """Expected losses by index, in fixed point, so that sums of them are exact.

    ``losses`` and ``bins`` have shape (n_indices + 1,): the last entry is for predictions without
    an index and has the mean of all.  ``mean`` is the mean expected loss of the reference.
    """

    __slots__ = ("_by_bin", "bins", "losses", "mean")

    def __init__(self, expected: ExpectedLoss, n_indices: int) -> None:
        bins = np.searchsorted(expected.starts, np.arange(n_indices), "right") - 1
        self.bins: Ints = np.append(bins, len(expected.starts))
        self._by_bin: Ints = np.array(expected.outcome.expected_losses, dtype=np.int64)
        self.losses: Ints = self._by_bin[self.bins]
        self.mean = mean_expected_loss(expected.outcome, expected.outcome.bin_counts)

    def cells(self, scores: Transformed, wrong: Ints) -> Ints:
        """The cell of each event in the outcome: 2 x bin + wrong; shape (n,)."""
        index = np.full(len(scores.valid), -1, dtype=np.int64)
        index[scores.valid] = scores.index
        return 2 * self.bins[index] + wrong

    def expected_of(self, cells: Ints) -> Ints:
        """The expected losses of outcomes, in fixed point; shape (n,)."""
        return self._by_bin[cells // 2]
