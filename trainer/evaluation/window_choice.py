"""Choice of the training window by a back-test: the losses on the holdout decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from trainer.evaluation.losses import Floats
from trainer.policy.training_window import TrainingWindow


def best_window(windows: Sequence[TrainingWindow], losses: Mapping[str, Floats]) -> TrainingWindow:
    """Return the window with the least mean loss (n,) on the holdout; of equal ones the first.

    A preference for larger windows, such as the rule of one standard error, is not right here: in a
    slow change the holdout hardly distinguishes the windows, and the smaller one lasts longer.  A
    window without losses could not be fitted.

    Raises:
        ValueError: no window has losses.
    """
    fitted = [window for window in windows if window.name in losses]
    if not fitted:
        raise ValueError("no window could be fitted")
    return min(fitted, key=lambda window: float(np.mean(losses[window.name])))
