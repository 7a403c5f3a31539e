"""Choice of the training window by a back-test: the losses on the holdout decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from trainer.evaluation.interval import mean_interval
from trainer.evaluation.losses import Floats
from trainer.policy.training_window import TrainingWindow

_ONE_STANDARD_ERROR: Final = 0.68
"""Confidence of an interval that reaches one standard error to each side."""


def best_window(windows: Sequence[TrainingWindow], losses: Mapping[str, Floats]) -> TrainingWindow:
    """Return the largest window that is not worse than the best one, by losses (n,) on the holdout.

    "Not worse" allows one standard error of the difference (the rule of Breiman, Friedman, Olshen
    and Stone, "Classification and regression trees", 1984): of windows that the holdout cannot
    distinguish the largest has the least variance, and lasts the longest.  A window without losses
    could not be fitted.

    Raises:
        ValueError: no window has losses.
    """
    fitted = [window for window in windows if window.name in losses]
    if not fitted:
        raise ValueError("no window could be fitted")
    best = min(fitted, key=lambda window: float(np.mean(losses[window.name])))
    for window in fitted:
        difference = losses[window.name] - losses[best.name]
        if mean_interval(difference, _ONE_STANDARD_ERROR).low <= 0:
            return window
    return best
