"""Factories of every kind, as users write them: each is run in a real fitting process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
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


def regression() -> Any:
    return HistGradientBoostingRegressor(max_iter=5, categorical_features=["carrier"])


def without_probabilities() -> Any:
    return LinearSVC()


def raises() -> Any:
    message = "no connection to the feature store"
    raise RuntimeError(message)


def leaves() -> Any:
    sys.exit(3)


def ends_at_once() -> Any:
    print("farewell", flush=True)  # noqa: T201
    os._exit(0)


def segfaults() -> Any:
    os.kill(os.getpid(), signal.SIGSEGV)


def hangs() -> Any:
    while True:
        time.sleep(60)


def hangs_with_children() -> Any:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(os.environ["DRIFTLINE_TEST_PIDS"]).write_text(f"{os.getpid()} {child.pid}", "ascii")
    return hangs()


def leaves_a_child_behind() -> Any:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(os.environ["DRIFTLINE_TEST_PIDS"]).write_text(str(child.pid), "ascii")
    return good()


def asks_for_too_much() -> Any:
    return np.ones(1 << 40)


def eats_bit_by_bit() -> Any:
    eaten = []
    while True:
        eaten.append(np.ones(1 << 20))


def eats_in_children() -> Any:
    eat = "import time; x = bytearray(150 << 20); time.sleep(600)"
    for _ in range(8):
        subprocess.Popen([sys.executable, "-c", eat])
    return hangs()


def an_int() -> Any:
    return 42


def a_class() -> Any:
    return HistGradientBoostingClassifier


def a_transformer() -> Any:
    return OrdinalEncoder()


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
    return make_pipeline(FunctionTransformer(drop_carrier), HistGradientBoostingClassifier())


def drop_carrier(frame: Any) -> Any:
    return frame[["temp"]]


class Nonsense(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # sklearn is untyped
    """A classifier that learns nothing and says ``says``."""

    def __init__(self, says: str = "nan") -> None:
        self.says = says

    def fit(self, frame: Any, labels: Any) -> Any:  # noqa: ARG002
        self.classes_ = np.unique(labels)
        return self

    def predict(self, frame: Any) -> Any:
        return self.predict_proba(frame)

    def predict_proba(self, frame: Any) -> Any:
        if self.says == "raises":
            message = "cannot predict"
            raise ArithmeticError(message)
        return {
            "nan": np.full((len(frame), 2), np.nan),
            "wrong shape": np.zeros(3),
            "no array": [[1], [1, 2]],
            "no probability": np.full((len(frame), 2), 7.0),
        }[self.says]


def says_nan() -> Any:
    return Nonsense("nan")


def says_wrong_shape() -> Any:
    return Nonsense("wrong shape")


def says_no_array() -> Any:
    return Nonsense("no array")


def says_no_probability() -> Any:
    return Nonsense("no probability")


def raises_in_predict() -> Any:
    return Nonsense("raises")
