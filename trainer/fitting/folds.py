"""Out-of-fold predictions: predictions for events that the model was not fitted on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
from sklearn.base import clone
from sklearn.model_selection import KFold

from producer.events import Prediction
from stream_monitor.reference.profile import ClassLabel, Task
from trainer.fitting.predictions import predictions


def out_of_fold(
    estimator: Any,
    frame: pd.DataFrame,
    labels: pd.Series[Any],
    *,
    task: Task,
    positive: ClassLabel,
    n_folds: int,
    on_stage: Callable[[str], None],
) -> list[Prediction]:
    """Predict each of the n rows with a model fitted on the other folds.

    A fold is a contiguous period of time, because neighbouring events depend on each other.
    """
    found: list[Prediction] = []
    for i, (rest, fold) in enumerate(KFold(n_folds).split(frame), start=1):
        on_stage(f"fold {i} of {n_folds}")
        fitted = clone(estimator).fit(frame.iloc[rest], labels.iloc[rest])
        found += predictions(fitted, frame.iloc[fold], task, positive)
    return found
