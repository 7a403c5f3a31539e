"""Episodes of the error where an expected error is known for each prediction.

A detection of the ``location`` channel reports that the loss differs from the reference: its fresh
events are compared with the reference.  One of the ``residual`` channel reports that the loss
differs from the expected loss of these predictions: they are compared with that.  A population that
becomes harder to predict changes the first and not the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from stream_monitor.episodes.bin_counts import BinCounts, floats
from stream_monitor.episodes.lifecycle import EpisodeTracker
from stream_monitor.episodes.policy import EpisodePolicy
from stream_monitor.reference.expected_loss import mean_expected_loss
from stream_monitor.reference.feature_reference import FeatureReference
from stream_monitor.statistics.distance import psi_adjusted
from stream_monitor.statistics.fixed_point import Floats, Ints

RESIDUAL: Final = "residual"


class ErrorRateTracker(EpisodeTracker):
    """An episode tracker of the error rate; its codes are 2 x bin + wrong."""

    def __init__(
        self,
        reference: FeatureReference,
        tau: float,
        policy: EpisodePolicy,
        decrease_arl0: float | None = None,
    ) -> None:
        super().__init__(
            reference.bin_counts,
            tau,
            policy,
            reference.calendar,
            freedom=1,
            decrease_arl0=decrease_arl0,
        )
        self._outcome = reference

    def _compared(self, counts: BinCounts) -> tuple[Floats, Floats]:
        seen, expected = self._right_and_wrong(counts)
        return floats(seen), floats(expected)

    def _distance(self, counts: BinCounts) -> tuple[float, float]:
        return psi_adjusted(*self._right_and_wrong(counts), self._tau)

    def _is_better(self, counts: BinCounts) -> bool:
        """Whether the error rate is below that of the reference, whatever was expected."""
        fell = share_wrong(counts.counts) < share_wrong(self._expected(counts))
        return fell and super()._is_better(counts)

    def _right_and_wrong(self, counts: BinCounts) -> tuple[tuple[int, int], tuple[int, int]]:
        """Right and wrong predictions as counted, and as expected."""
        if self.suspicion is not None and self.suspicion.channel == RESIDUAL:
            expected = _expected(self._outcome, counts.counts)
        else:
            expected = right_and_wrong(self._expected(counts))
        return right_and_wrong(counts.counts), expected


def tracker_for(
    reference: FeatureReference,
    policy: EpisodePolicy,
    kind: type[EpisodeTracker] = EpisodeTracker,
    decrease_arl0: float | None = None,
) -> EpisodeTracker:
    """Build the episode tracker for a reference; ``kind`` is its class, except for outcomes.

    ``decrease_arl0`` is that of `EpisodeTracker`.
    """
    calendar = reference.calendar
    tau = reference.tau if calendar is None else calendar.tau
    if reference.kind == "outcome":
        return ErrorRateTracker(reference, tau, policy, decrease_arl0)
    validity = reference.n_events - reference.n_invalid, reference.n_invalid
    return kind(
        reference.bin_counts, tau, policy, calendar, validity=validity, decrease_arl0=decrease_arl0
    )


def right_and_wrong(cells: Sequence[int] | Ints) -> tuple[int, int]:
    """The number of right and of wrong predictions, over all bins.

    >>> right_and_wrong([5, 1, 7, 2])
    (12, 3)
    """
    right, wrong = np.array(cells).reshape(-1, 2).sum(axis=0).tolist()
    return right, wrong


def share_wrong(cells: Sequence[int] | Ints) -> float:
    """The share of wrong predictions.

    >>> share_wrong([5, 1, 7, 2])
    0.2
    """
    right, wrong = right_and_wrong(cells)
    return wrong / max(1, right + wrong)


def _expected(outcome: FeatureReference, cells: Ints) -> tuple[int, int]:
    """The expected right and wrong predictions, as many as the reference events behind them.

    Where the events lie in few bins, few reference events support the expectation: for independent
    bins with n events each and weights w their number is 1 / sum(w^2 / n).  Without an event, as
    when a person ends the episode just after a count began, the reference's own are returned.
    """
    if not cells.any():
        return right_and_wrong(outcome.bin_counts)
    weights = cells.reshape(-1, 2).sum(axis=1) / int(cells.sum())
    known = np.array(outcome.bin_counts).reshape(-1, 2).sum(axis=1)
    effective = 1 / float(np.sum(weights**2 / (known + 1)))
    wrong = effective * mean_expected_loss(outcome, cells)
    return round(effective - wrong), round(wrong)
