"""The loss of each prediction: the one that the monitor watches, or the Brier score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from producer.events import Prediction, Value
from stream_monitor.reference.loss import prediction_loss, score_of
from stream_monitor.reference.profile import ClassLabel, Task

Floats: TypeAlias = NDArray[np.float64]
_SCORES: Final = frozenset({float, int, type(None)})
Metric: TypeAlias = Literal["error", "brier"]
"""``error``: 0/1 error of a classifier, absolute error of a regression; the monitor watches it.
``brier``: squared error of the probability of a binary model; it measures smaller differences."""


def resolve_metric(metric: Metric | Literal["auto"], task: Task) -> Metric:
    """Return the metric that ``auto`` stands for: the Brier score of a binary model.

    >>> resolve_metric("auto", "binary"), resolve_metric("auto", "regression")
    ('brier', 'error')
    """
    if metric != "auto":
        return metric
    return "brier" if task == "binary" else "error"


def losses(
    predictions: Sequence[Prediction | None],
    labels: Sequence[Value],
    task: Task,
    *,
    threshold: float = 0.5,
    positive: ClassLabel = 1,
    metric: Metric = "error",
) -> Floats:
    """Return the loss of each of n predictions, (n,); NaN where it cannot be compared.

    >>> losses([0.7, 0.2, None], [1, 1, 0], "binary").tolist()
    [0.0, 1.0, nan]
    >>> losses([0.7, 0.2], [1, 1], "binary", metric="brier").round(2).tolist()
    [0.09, 0.64]

    Raises:
        ValueError: the lengths differ, or the metric is the Brier score and the task not binary.
    """
    if len(predictions) != len(labels):
        raise ValueError(f"{len(predictions)} predictions, but {len(labels)} labels")
    if metric == "brier" and task != "binary":
        raise ValueError(f"the Brier score is for binary models, not for {task}: use 'error'")
    if task == "binary":
        fast = _losses_of_scores(predictions, labels, threshold, positive, metric)
        if fast is not None:
            return fast
    cost = _brier_loss if metric == "brier" else prediction_loss
    found = (
        cost(task, threshold, positive, prediction, label)
        for prediction, label in zip(predictions, labels, strict=True)
    )
    return np.array([math.nan if loss is None else loss for loss in found], dtype=np.float64)


def _losses_of_scores(
    predictions: Sequence[Prediction | None],
    labels: Sequence[Value],
    threshold: float,
    positive: ClassLabel,
    metric: Metric,
) -> Floats | None:
    """The losses of probabilities, ten times faster; ``None`` if a prediction is anything else."""
    if not _SCORES.issuperset(map(type, predictions)):
        return None
    truths: dict[tuple[type, Value], float] = {}
    try:
        scores: Floats = np.array(predictions, dtype=np.float64)  # NaN for None
        for key in set(zip(map(type, labels), labels, strict=True)):
            # The loss of a certain "no" is the target: 1 for a positive label, 0 for any other.
            loss = prediction_loss("binary", 0.5, positive, 0.0, key[1])
            truths[key] = math.nan if loss is None else loss
    except (TypeError, OverflowError):  # labels that are lists, integers beyond floats
        return None
    if ((scores < 0) | (scores > 1)).any():
        return None
    truth = np.array([truths[type(label), label] for label in labels], dtype=np.float64)
    if metric == "brier":
        squared: Floats = np.square(scores - truth)
        return squared
    errors: Floats = ((scores >= threshold) != (truth > 0)).astype(np.float64)
    errors[np.isnan(scores) | np.isnan(truth)] = math.nan
    return errors


def _brier_loss(
    task: Task, threshold: float, positive: ClassLabel, prediction: Prediction | None, label: Value
) -> float | None:
    """Brier, "Verification of forecasts expressed in terms of probability", 1950.

    A predicted class counts as a probability of 0 or 1.
    """
    score = None if prediction is None else score_of(prediction, task, positive)
    if isinstance(score, bool | str) or score is None:
        return prediction_loss(task, threshold, positive, score, label)
    if not 0 <= score <= 1:
        return None
    # The loss of a certain "no" is the target: 1 for a positive label, 0 for any other.
    truth = prediction_loss(task, 0.5, positive, 0.0, label)
    return None if truth is None else (score - truth) * (score - truth)
