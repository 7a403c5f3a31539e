"""What a model says about events it was not trained on."""

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
    """A prediction for each of the n rows, by a model fitted on the others.

    The folds are spans of time: events that lie side by side share their weather.
    """
    found: list[Prediction] = []
    for i, (rest, fold) in enumerate(KFold(n_folds).split(frame), start=1):
        on_stage(f"fold {i} of {n_folds}")
        fitted = clone(estimator).fit(frame.iloc[rest], labels.iloc[rest])
        found += predictions(fitted, frame.iloc[fold], task, positive)
    return found
