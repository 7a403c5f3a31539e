"""Models fitted on rows of a stream, with their predictions and losses; each fit happens once."""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from sklearn.base import clone

from driftline.offline.backtest.labelled_stream import Ints, LabelledStream
from producer.events import Prediction
from stream_monitor.reference.profile import ReferenceProfile
from trainer.evaluation.losses import Floats, Metric, losses
from trainer.fitting import model_fit
from trainer.fitting import predictions as fitted_predictions
from trainer.fitting.model_fit import LABEL, FitSpec, fit_model
from trainer.fitting.predictions import predictions

_PACKAGES: Final = ("producer", "stream_monitor", "trainer", "driftline")
_CALLERS: Final = (__name__, model_fit.__name__, fitted_predictions.__name__)
"""The modules that call an estimator."""
BLOCK_ROWS: Final = 2_000
"""Rows predicted at once: a call of scikit-learn costs more than some hundred predictions."""


class FittedVersion:
    """A model fitted on some rows; predictions and losses of all rows are computed when needed."""

    def __init__(self, stream: LabelledStream, rows: Ints, estimator: Any) -> None:
        self._stream = stream
        self.rows = rows
        self.estimator = estimator
        self.out_of_fold: list[Prediction] = []
        self._predictions: list[Prediction | None] = [None] * len(stream)
        self._losses: dict[Metric, Floats] = {}
        self._blocks: set[int] = set()

    @property
    def trained_until(self) -> int:
        """The row after the last one that it was fitted on."""
        return int(self.rows[-1]) + 1

    def predict(self, start: int, end: int) -> list[Prediction | None]:
        """Return the predictions of the rows from ``start`` to ``end``."""
        self._compute(start, end)
        return self._predictions[start:end]

    def losses(self, start: int, end: int, metric: Metric) -> Floats:
        """Return the losses of these rows, (n,); NaN where there is no label."""
        self._compute(start, end)
        return self._losses[metric][start:end]

    def out_of_fold_losses(self, metric: Metric) -> Floats:
        """Return the losses of the rows that it was fitted on, (n,), with predictions of folds."""
        stream = self._stream
        labels = [stream.labels[row] for row in self.rows.tolist()]
        return losses(
            self.out_of_fold, labels, stream.task, positive=stream.positive, metric=metric
        )

    def _compute(self, start: int, end: int) -> None:
        stream = self._stream
        for block in range(start // BLOCK_ROWS, -(-end // BLOCK_ROWS)):
            if block in self._blocks:
                continue
            self._blocks.add(block)
            rows = slice(block * BLOCK_ROWS, min(len(stream), (block + 1) * BLOCK_ROWS))
            frame = stream.frame[stream.features].iloc[rows]
            found = predictions(self.estimator, frame, stream.task, stream.positive)
            self._predictions[rows] = found
            for metric in metrics_of(stream):
                known = self._losses.setdefault(metric, np.full(len(stream), np.nan))
                known[rows] = losses(
                    found,
                    [0 if label is None else label for label in stream.labels[rows]],
                    stream.task,
                    positive=stream.positive,
                    metric=metric,
                )
                missing = [label is None for label in stream.labels[rows]]
                known[rows][np.array(missing)] = np.nan


class FittedVersions:
    """Fits models on rows of a stream, and keeps them."""

    def __init__(self, stream: LabelledStream, make: Callable[[], Any]) -> None:
        self.stream = stream
        self.make = make
        self._fitted: dict[bytes, FittedVersion] = {}

    def fit(self, rows: Ints) -> FittedVersion:
        """Return the model fitted on ``rows`` (n,), in order of time."""
        key = _key(rows)
        if key not in self._fitted:
            training = self.stream.frame.iloc[rows]
            labels = training[LABEL].infer_objects()
            estimator = clone(self.make()).fit(training[self.stream.features], labels)
            self._fitted[key] = FittedVersion(self.stream, rows, estimator)
        return self._fitted[key]

    def fit_with_profile(self, rows: Ints, spec: FitSpec) -> tuple[FittedVersion, ReferenceProfile]:
        """Return the model and its reference profile, as the trainer makes them."""
        fitted = fit_model(self.make(), self.stream.frame.iloc[rows], spec, lambda _stage: None)
        version = FittedVersion(self.stream, rows, fitted.estimator)
        version.out_of_fold = list(fitted.out_of_fold)
        self._fitted[_key(rows)] = version
        return version, fitted.profile


def is_of_estimator(error: BaseException) -> bool:
    """Whether a call of the user's estimator raised ``error``, and not driftline itself."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    modules = [str(frame.f_globals.get("__name__", "")) for frame in frames]
    ours = [name for name in modules if name.partition(".")[0] in _PACKAGES]
    return bool(ours) and ours[-1] in _CALLERS


def metrics_of(stream: LabelledStream) -> tuple[Metric, ...]:
    """The losses that are computed: the error, and for binary models the Brier score."""
    return ("error", "brier") if stream.task == "binary" else ("error",)


def _key(rows: Ints) -> bytes:
    return hashlib.blake2b(rows.tobytes(), digest_size=16).digest()
