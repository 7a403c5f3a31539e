"""Fits a model with its reference profile, and fits candidate windows for a back-test.

The fitting process and ``driftline backtest`` call these functions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.inspection import permutation_importance
from sklearn.model_selection import KFold

from producer.events import Prediction, Value
from stream_monitor.reference.frame import profile_from_frame
from stream_monitor.reference.loss import prediction_loss
from stream_monitor.reference.profile import ClassLabel, ReferenceProfile, Task
from trainer.fitting.predictions import InvalidPredictions, predictions, task_of
from trainer.fitting.recent_losses import n_recent
from trainer.policy.training_window import TrainingWindow

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

    Its losses are the recent ones (`n_recent`).  ``spec`` has the task.
    """
    task, positive = spec.task or "binary", 1 if spec.positive is None else spec.positive
    known = [
        None if p is None else prediction_loss(task, spec.threshold, positive, p, truth)
        for p, truth in zip(out_of_fold, training[LABEL].tolist(), strict=True)
    ]
    found = np.array(known, dtype=np.float64)  # NaN for None
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
        n_losses=n_recent(found, spec.n_folds),
        features=spec.features,
        task=spec.task,
        threshold=spec.threshold,
        positive=positive,
        time=TIME if timed else None,
        segments=spec.segmented_by,
        importances=importances,
        events_per_week=spec.events_per_week,
    )


def can_fit(task: Task, labels: Sequence[Value]) -> bool:
    """Whether a model can learn from the labels (n,): of classes at least two.

    A rare class may be missing: the holdout shows what that costs.

    >>> can_fit("multiclass", ["a", "b", "a"]), can_fit("binary", [1, 1])
    (True, False)
    """
    return task == "regression" or len(set(labels)) > 1


def fit_windows(
    estimator: Any,
    training: pd.DataFrame,
    held_out: pd.DataFrame,
    windows: Sequence[TrainingWindow],
    spec: FitSpec,
    on_stage: Callable[[str], None],
) -> dict[str, list[Prediction]]:
    """Fit each window of ``training``; return its predictions for ``held_out`` by window name.

    A window of one class is left out (`can_fit`), unless it has all rows.

    Raises:
        InvalidPredictions: the estimator returns invalid predictions.
    """
    labels = training[LABEL].infer_objects()
    spec = spec.resolved(estimator, labels)
    task, positive = spec.task or "binary", 1 if spec.positive is None else spec.positive
    found: dict[str, list[Prediction]] = {}
    for window in windows:
        start, end = window.range(len(training))
        some = labels.iloc[start:end]
        if window.rows is not None and not can_fit(task, some.tolist()):
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
