"""Importance of features to a fitted model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.compose import make_column_transformer
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from stream_monitor.reference.profile import Task
from trainer.fitting.model_fit import importances


def rows(n: int = 3_000) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    return pd.DataFrame(
        {
            "temp": rng.normal(15, 8, n),
            "wind": rng.normal(0, 1, n),
            "carrier": rng.choice(["UA", "AA"], n),
        }
    )


def fitted(model: Any, frame: pd.DataFrame, truth: pd.Series[Any]) -> Any:
    columns = make_column_transformer(
        (StandardScaler(), ["temp", "wind"]), (OneHotEncoder(), ["carrier"])
    )
    return make_pipeline(columns, model).fit(frame, truth)


@pytest.mark.parametrize(
    ("task", "model"),
    [
        ("binary", LogisticRegression()),
        ("multiclass", LogisticRegression()),
        ("regression", LinearRegression()),
    ],
)
def test_features_that_determine_the_label_are_important_and_others_are_not(
    task: Task, model: Any
) -> None:
    frame = rows()
    signal = frame["temp"] + 4 * (frame["carrier"] == "UA")
    truths = {
        "binary": (signal > 17).astype(int),
        "multiclass": pd.cut(signal, 3, labels=["low", "mid", "high"]).astype(object),
        "regression": signal,
    }
    truth = truths[task]

    found = importances(fitted(model, frame, truth), frame, truth, task)

    assert found["temp"] == 1.0
    assert 0.02 < found["carrier"] < 0.9
    assert found["wind"] < 0.02


def test_a_model_that_looks_at_nothing_has_no_important_feature() -> None:
    frame = rows(500)
    truth = pd.Series(np.arange(500) % 2)
    assert importances(DummyClassifier().fit(frame, truth), frame, truth, "binary") == {}


class Picky(BaseEstimator):  # type: ignore[misc]  # sklearn is untyped
    """Takes only rows that can be, and keeps house in the frame it is given."""

    def fit(self) -> Picky:
        return self

    def predict(self, frame: pd.DataFrame) -> Any:
        if (frame["low"] > frame["high"]).any():
            raise ValueError("low is above high")
        return frame.pop("low") + frame["high"]


def test_a_model_that_alters_its_rows_alters_nothing_else() -> None:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"low": rng.uniform(0, 1, 400), "high": rng.uniform(1, 2, 400)})
    before = frame.copy()

    found = importances(Picky(), frame, frame["low"] + frame["high"], "regression")

    assert set(found) == {"low", "high"}
    assert frame.equals(before)


def test_an_estimator_that_rejects_the_permuted_rows_raises() -> None:
    low = np.random.default_rng(1).uniform(0, 9, 400)
    frame = pd.DataFrame({"low": low, "high": low + 1})

    with pytest.raises(ValueError, match="low is above high"):
        importances(Picky(), frame, pd.Series(low), "regression")


def test_the_computation_stops_at_its_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.fitting.model_fit.TIMEOUT_S", -1.0)
    frame = rows(300)
    truth = frame["wind"] > 0
    with pytest.raises(TimeoutError, match="longer than"):
        importances(DummyClassifier().fit(frame, truth), frame, truth, "binary")
