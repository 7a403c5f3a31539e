"""Estimator factories as users write them, correct and faulty; a real process runs each."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OrdinalEncoder
from sklearn.svm import LinearSVC


def good() -> Any:
    encode = make_column_transformer(
        (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), ["carrier"]),
        remainder="passthrough",
    )
    return make_pipeline(encode, HistGradientBoostingClassifier(max_iter=5, random_state=0))


def in_a_narrow_log() -> Any:
    """As if a record could carry a thousand bytes; the fitting program is the main module here."""
    vars(sys.modules["__main__"])["MAX_PROFILE_BYTES"] = 1_000
    return good()


def regression() -> Any:
    return HistGradientBoostingRegressor(max_iter=5, categorical_features=["carrier"])


def without_probabilities() -> Any:
    return LinearSVC()


def raises() -> Any:
    message = "no connection to the feature store"
    raise RuntimeError(message)


def ends_at_once() -> Any:
    print("farewell", flush=True)  # noqa: T201
    os._exit(0)


def segfaults() -> Any:
    os.kill(os.getpid(), signal.SIGSEGV)


def hangs() -> Any:
    while True:
        time.sleep(60)


def asks_for_too_much() -> Any:
    return np.ones(1 << 40)


def an_int() -> Any:
    return 42


def prints_garbage() -> Any:
    line = "\x00{]" * 10_000
    for _ in range(300):
        print(line)  # noqa: T201
        print(line, file=sys.stderr)  # noqa: T201
    return good()


def forks() -> Any:
    os.fork()
    return good()


def own_function_inside() -> Any:
    return make_pipeline(
        FunctionTransformer(drop_carrier), HistGradientBoostingClassifier(max_iter=5)
    )


def drop_carrier(frame: Any) -> Any:
    return frame[["temp"]]


class Nonsense(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # sklearn is untyped
    """A classifier that learns nothing and predicts ``output``."""

    def __init__(self, output: str = "nan") -> None:
        self.output = output

    def fit(self, frame: Any, labels: Any) -> Any:  # noqa: ARG002
        self.classes_ = np.unique(labels)
        return self

    def predict(self, frame: Any) -> Any:
        return self.predict_proba(frame)

    def predict_proba(self, frame: Any) -> Any:
        if self.output == "raises":
            message = "cannot predict"
            raise ArithmeticError(message)
        return np.full((len(frame), 2), np.nan)


def returns_nan() -> Any:
    return Nonsense("nan")


def raises_in_predict() -> Any:
    return Nonsense("raises")
