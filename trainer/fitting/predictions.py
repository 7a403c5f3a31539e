"""Predictions of a fitted estimator, in the form that model servers publish."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import is_classifier

from producer.events import Prediction
from stream_monitor.reference.profile import ClassLabel, Task
from stream_monitor.reference.values import category


class InvalidPredictions(Exception):  # noqa: N818 - names a finding
    """The estimator did not return a valid prediction for each row."""


def task_of(estimator: Any, labels: pd.Series[Any]) -> Task:
    """Return the task of an estimator; a classifier's depends on the number of classes."""
    if not is_classifier(estimator):
        return "regression"
    return "binary" if labels.nunique() <= 2 else "multiclass"


def predictions(
    estimator: Any, frame: pd.DataFrame, task: Task, positive: ClassLabel
) -> list[Prediction]:
    """Return one prediction for each of the n rows of ``frame``.

    Binary: the probability of ``positive``, or the class where the model gives no probabilities.
    Multiclass: the name of the class.  Regression: the number.

    Raises:
        InvalidPredictions: a wrong shape, a NaN, a probability outside [0, 1], or a class without
            a name.
    """
    if task == "binary" and hasattr(estimator, "predict_proba"):
        return _probabilities(estimator, frame, positive)
    found = _array(estimator.predict(frame), "predict")
    if found.shape != (len(frame),):
        raise InvalidPredictions(f"predict returned an array {found.shape} for {len(frame)} rows")
    return _numbers(found) if task == "regression" else _classes(found)


def _probabilities(estimator: Any, frame: pd.DataFrame, positive: ClassLabel) -> list[Prediction]:
    classes = [class_name(value) for value in estimator.classes_]
    found = _array(estimator.predict_proba(frame), "predict_proba")
    if found.shape != (len(frame), len(classes)):
        raise InvalidPredictions(
            f"predict_proba returned an array {found.shape} for {len(frame)} rows and "
            f"{len(classes)} classes"
        )
    if found.dtype.kind not in "fiu" or not ((found >= 0) & (found <= 1)).all():
        raise InvalidPredictions("predict_proba returned a value that is not between 0 and 1")
    if class_name(positive) not in classes:  # the training rows had no positive label
        return [0.0] * len(frame)
    scores: list[Prediction] = found[:, classes.index(class_name(positive))].astype(float).tolist()
    return scores


def _numbers(found: NDArray[Any]) -> list[Prediction]:
    if found.dtype.kind not in "fiub" or not np.isfinite(found).all():
        raise InvalidPredictions("predict returned a value that is not a finite number")
    numbers: list[Prediction] = found.astype(float).tolist()
    return numbers


def _classes(found: NDArray[Any]) -> list[Prediction]:
    names = [class_name(value) for value in found]
    if None in names:
        raise InvalidPredictions(
            f"predict returned {found[names.index(None)]!r}, which is not a class"
        )
    return [name for name in names if name is not None]


def _array(found: Any, method: str) -> NDArray[Any]:
    try:
        return np.asarray(found)
    except ValueError as error:
        raise InvalidPredictions(f"{method} did not return an array: {error}") from error


def class_name(value: Any) -> str | None:
    """Return the name of a class; 1, 1.0, True and "1" have the same name, as in labels."""
    plain = value.item() if isinstance(value, np.generic) else value
    return category(int(plain) if isinstance(plain, bool) else plain)
