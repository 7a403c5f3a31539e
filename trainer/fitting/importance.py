"""The importance of each feature to a fitted model: the loss that shuffling its column adds.

Breiman, "Random forests", Machine Learning 45, 2001, as implemented by scikit-learn.
"""

from __future__ import annotations

import time
from typing import Any, Final

import numpy as np
import pandas as pd
from sklearn.inspection import permutation_importance

from producer.events import Prediction, Value
from stream_monitor.reference.loss import prediction_loss
from stream_monitor.reference.profile import ClassLabel, Task
from trainer.fitting.predictions import predictions

_MAX_ROWS: Final = 2_000
_MIN_ROWS: Final = 200
_MAX_CELLS: Final = 200_000
"""Rows times features, so that a wide model uses fewer rows."""
TIMEOUT_S: Final = 30.0
_REPEATS: Final = 3


def importances(
    estimator: Any,
    frame: pd.DataFrame,
    labels: pd.Series[Any],
    task: Task,
    positive: ClassLabel = 1,
    threshold: float = 0.5,
) -> dict[str, float]:
    """Return importances by feature, relative to the largest; empty if no feature matters.

    Uses the last rows of ``frame`` (n, features), at most `_MAX_ROWS`.

    Raises:
        TimeoutError: it takes longer than `TIMEOUT_S`.
        Exception: any error of the model, which may not accept a row with a shuffled column.
    """
    end_s = time.monotonic() + TIMEOUT_S
    n_rows = min(_MAX_ROWS, max(_MIN_ROWS, _MAX_CELLS // max(1, frame.shape[1])))
    some, truth = frame.tail(n_rows), labels.tail(n_rows)

    def score(model: Any, shuffled: pd.DataFrame, y: pd.Series[Any]) -> float:
        if time.monotonic() > end_s:
            raise TimeoutError(f"importances took longer than {TIMEOUT_S:g} s")
        predicted = predictions(model, shuffled.copy(), task, positive)
        costs = [
            _cost(task, threshold, positive, prediction, label)
            for prediction, label in zip(predicted, y.tolist(), strict=True)
        ]
        return -float(np.mean([cost for cost in costs if cost is not None]))

    found = permutation_importance(
        estimator, some, truth, scoring=score, n_repeats=_REPEATS, random_state=0
    )
    positive_importances = np.maximum(found.importances_mean, 0.0)
    most = float(positive_importances.max(initial=0.0))
    if not 0 < most < np.inf:
        return {}
    return {
        str(name): round(float(share), 6)
        for name, share in zip(frame.columns, positive_importances / most, strict=True)
    }


def _cost(
    task: Task, threshold: float, positive: ClassLabel, prediction: Prediction, label: Value
) -> float | None:
    """Return the monitor's loss; for a probability its absolute error."""
    if task != "binary" or not isinstance(prediction, float):
        return prediction_loss(task, threshold, positive, prediction, label)
    # The loss of a certain "no" is the target: 1 for a positive label, 0 for any other.
    truth = prediction_loss(task, 0.5, positive, 0.0, label)
    return None if truth is None else abs(prediction - truth)
