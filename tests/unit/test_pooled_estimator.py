"""The vote that a model server serves: that of the backtest, with the methods of an estimator."""

from __future__ import annotations

import functools
from typing import Any, Final

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import ClassifierMixin
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier

from driftline.serving.pooled_estimator import PooledEstimator, Voter
from trainer.evaluation.vote import vote
from trainer.fitting.predictions import predictions

FRAME: Final = pd.DataFrame(np.random.default_rng(0).normal(size=(300, 2)), columns=["a", "b"])


@functools.cache
def fitted(task: str) -> dict[str, Any]:
    """Three versions that differ in their rows and in the order of their columns."""
    target = FRAME["a"] + 0.5 * FRAME["b"]
    labels: Any = target
    make: Any = LinearRegression
    if task != "regression":
        make = LogisticRegression
        labels = pd.Series(np.digitize(target, [0.0] if task == "binary" else [-0.5, 0.5]))
    if task == "multiclass":
        labels = labels.map({0: "low", 1: "middle", 2: "high"})
    draw = np.random.default_rng(1)
    found = {}
    for version, names in (("1", ["a", "b"]), ("2", ["b", "a"]), ("3", ["a", "b"])):
        rows = draw.choice(len(FRAME), 60, replace=False)
        found[version] = make().fit(FRAME.iloc[rows][names], labels.iloc[rows])
    return found


def estimators(task: str) -> dict[str, Any]:
    return dict(fitted(task))


def pool_of(known: dict[str, Any], weights: dict[str, float]) -> PooledEstimator:
    return PooledEstimator([Voter(v, known[v], weight) for v, weight in weights.items()])


@settings(max_examples=20)
@given(
    task=st.sampled_from(["binary", "multiclass", "regression"]),
    raw=st.lists(st.floats(0.05, 1.0), min_size=1, max_size=3),
)
def test_the_pool_predicts_what_the_vote_of_its_members_predicts(
    task: Any, raw: list[float]
) -> None:
    known = estimators(task)
    weights = {str(i + 1): share / sum(raw) for i, share in enumerate(raw)}

    found = predictions(pool_of(known, weights), FRAME, task, 1)

    members = {
        v: predictions(known[v], FRAME[known[v].feature_names_in_], task, 1) for v in weights
    }
    expected = vote(members, weights)
    assert found == (expected if task == "multiclass" else pytest.approx(expected))


def test_probabilities_sum_to_one_and_predict_agrees_with_them() -> None:
    pool = pool_of(estimators("binary"), {"1": 0.5, "2": 0.3, "3": 0.2})

    found = pool.predict_proba(FRAME)

    assert found.sum(axis=1) == pytest.approx(1)
    assert pool.predict(FRAME).tolist() == found.argmax(axis=1).tolist()


def test_a_member_with_fewer_classes_votes_with_its_own() -> None:
    known = estimators("multiclass")
    is_low = pd.Series(np.where(FRAME["a"] > 0, "middle", "low"))
    known["2"] = LogisticRegression().fit(FRAME, is_low)

    pool = pool_of(known, {"2": 0.5, "1": 0.5})
    found = pool.predict_proba(FRAME)

    names = pool.classes_.tolist()
    assert sorted(names) == ["high", "low", "middle"]
    alone = known["1"].predict_proba(FRAME)
    assert found[:, names.index("high")] == pytest.approx(alone[:, 0] / 2)
    assert found.sum(axis=1) == pytest.approx(1)


def test_members_without_probabilities_vote_with_their_classes() -> None:
    labels = (FRAME["a"] > 0).astype(int)
    turned: ClassifierMixin = RidgeClassifier().fit(FRAME, 1 - labels)
    known = {"1": RidgeClassifier().fit(FRAME, labels), "2": turned}

    pool = pool_of(known, {"1": 0.4, "2": 0.6})

    assert not hasattr(pool, "predict_proba")
    assert pool.predict(FRAME).tolist() == turned.predict(FRAME).tolist()


def test_classes_and_numbers_cannot_vote_together() -> None:
    known = {"1": estimators("binary")["1"], "2": estimators("regression")["2"]}

    with pytest.raises(ValueError, match="versions 1, 2 cannot vote"):
        pool_of(known, {"1": 0.5, "2": 0.5})
    with pytest.raises(ValueError, match="versions none cannot vote"):
        PooledEstimator([])
