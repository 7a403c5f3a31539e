"""Fits a model with its reference profile, and fits candidate windows for a back-test.

The fitting process and ``driftline backtest`` call these functions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from sklearn.base import clone

from producer.events import Prediction
from stream_monitor.reference.frame import profile_from_frame
from stream_monitor.reference.loss import prediction_loss
from stream_monitor.reference.profile import ClassLabel, ReferenceProfile, Task
from trainer.fitting.folds import out_of_fold
from trainer.fitting.importance import importances
from trainer.fitting.predictions import InvalidPredictions, predictions, task_of
from trainer.policy.training_window import TrainingWindow

LABEL: Final = "label"
TIME: Final = "time_ms"
"""Event time, if the training frame has it; a seasonal reference needs it."""
_PREDICTION: Final = "driftline prediction"
_MAX_REASON: Final = 500  # characters


class FitSpec(NamedTuple):
    """The columns and the task of a fit.

    ``task`` None: that of the estimator.  ``positive`` None: the last class.
    """

    features: list[str]
    model: str
    version: str
    task: Task | None = None
    threshold: float = 0.5
    positive: ClassLabel | None = None
    n_folds: int = 5
    segmented_by: tuple[str, ...] = ()
    events_per_week: float | None = None

    def resolved(self, estimator: Any, labels: pd.Series[Any]) -> FitSpec:
        """Return the spec with task and positive class filled in."""
        task = self.task or task_of(estimator, labels)
        return self._replace(task=task, positive=_positive(self.positive, task, labels))


class ModelFit(NamedTuple):
    """A fitted estimator with its reference profile; ``out_of_fold`` has one prediction per row."""

    estimator: Any
    profile: ReferenceProfile
    out_of_fold: list[Prediction]
    metrics: dict[str, float]


def fit_model(
    estimator: Any, training: pd.DataFrame, spec: FitSpec, on_stage: Callable[[str], None]
) -> ModelFit:
    """Fit ``estimator`` on ``training``, in order of time; learn the profile from other folds.

    ``training`` has the columns ``spec.features``, `LABEL` and, if known, `TIME`.

    Raises:
        InvalidPredictions: the estimator returns invalid predictions.
    """
    frame, labels = training[spec.features], training[LABEL].infer_objects()
    spec = spec.resolved(estimator, labels)
    task, positive = spec.task or "binary", 1 if spec.positive is None else spec.positive
    predicted = out_of_fold(
        estimator,
        frame,
        labels,
        task=task,
        positive=positive,
        n_folds=spec.n_folds,
        on_stage=on_stage,
    )
    on_stage(f"fitting on {len(frame)} events")
    estimator = clone(estimator).fit(frame, labels)
    on_stage("computing importances")
    important: dict[str, float] = {}
    without = ""
    try:  # an error here must not cost the model
        important = importances(estimator, frame, labels, task, positive, spec.threshold)
    except Exception as error:  # noqa: BLE001 - user code on shuffled rows
        without = f", without importances: {type(error).__name__}: {error}"[:_MAX_REASON]
    on_stage(f"learning the reference profile{without}")
    profile = reference_of(training, predicted, spec._replace(task=task), important)
    metrics = _metrics(task, spec.threshold, positive, predicted, labels)
    return ModelFit(estimator, profile, predicted, metrics)


def reference_of(
    training: pd.DataFrame,
    out_of_fold: Sequence[Prediction | None],
    spec: FitSpec,
    importances: dict[str, float],
) -> ReferenceProfile:
    """Return the reference of a version from its n training rows and as many predictions.

    ``spec`` has the task.
    """
    timed = TIME in training and TIME not in spec.features
    more = {_PREDICTION: pd.Series(list(out_of_fold), index=training.index)}
    if timed:
        more[TIME] = pd.to_datetime(training[TIME], unit="ms", utc=True)
    return profile_from_frame(
        training.assign(**more),
        model=spec.model,
        version=spec.version,
        prediction=_PREDICTION,
        label=LABEL,
        features=spec.features,
        task=spec.task,
        threshold=spec.threshold,
        positive=1 if spec.positive is None else spec.positive,
        time=TIME if timed else None,
        segments=spec.segmented_by,
        importances=importances,
        events_per_week=spec.events_per_week,
    )


def fit_windows(
    estimator: Any,
    training: pd.DataFrame,
    held_out: pd.DataFrame,
    windows: Sequence[TrainingWindow],
    spec: FitSpec,
    on_stage: Callable[[str], None],
) -> dict[str, list[Prediction]]:
    """Fit each window of ``training``; return its predictions for ``held_out`` by window name.

    A window that has fewer classes than the training rows is left out: it cannot predict the rest.

    Raises:
        InvalidPredictions: the estimator returns invalid predictions.
    """
    labels = training[LABEL].infer_objects()
    spec = spec.resolved(estimator, labels)
    task, positive = spec.task or "binary", 1 if spec.positive is None else spec.positive
    n_classes = labels.nunique()
    found: dict[str, list[Prediction]] = {}
    for window in windows:
        start, end = window.range(len(training))
        some = labels.iloc[start:end]
        if task != "regression" and window.rows is not None and some.nunique() < n_classes:
            continue
        on_stage(f"fitting the window {window.name!r}: {end - start} events")
        fitted = clone(estimator).fit(training[spec.features].iloc[start:end], some)
        found[window.name] = predictions(fitted, held_out[spec.features], task, positive)
    return found


def _positive(asked: ClassLabel | None, task: Task, labels: pd.Series[Any]) -> ClassLabel:
    """Return the class whose probability is the score: the requested one, or the last."""
    if asked is not None or task != "binary":
        return 1 if asked is None else asked
    last = np.unique(labels.to_numpy())[-1]
    positive: ClassLabel = last.item() if isinstance(last, np.generic) else last
    return positive


def _metrics(
    task: Task,
    threshold: float,
    positive: ClassLabel,
    predicted: list[Prediction],
    labels: pd.Series[Any],
) -> dict[str, float]:
    costs = [
        prediction_loss(task, threshold, positive, prediction, truth)
        for prediction, truth in zip(predicted, labels.tolist(), strict=True)
    ]
    known = [cost for cost in costs if cost is not None]
    if not known:
        raise InvalidPredictions("no prediction could be compared with its label")
    return {"out_of_fold_loss": sum(known) / len(known), "n_events": float(len(labels))}
