"""Importance of features to a fitted model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from stream_monitor.reference.profile import Task
from trainer.fit.importance import importances


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
def test_what_the_truth_follows_is_important_and_the_rest_is_not(task: Task, model: Any) -> None:
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
