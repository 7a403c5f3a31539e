"""Invalid estimators and predictions are rejected with a reason."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

from trainer.fitting.factory import NotAnEstimator, make_estimator
from trainer.fitting.predictions import InvalidPredictions, predictions, task_of

ROWS = pd.DataFrame({"x": [0.0, 1.0, 2.0]})


def estimator_with(method: str, returned: Any, classes: tuple[Any, ...] = (0, 1)) -> Any:
    return SimpleNamespace(**{method: lambda _frame: returned}, classes_=np.array(classes))


def test_a_factory_is_called() -> None:
    assert isinstance(make_estimator("sklearn.linear_model:LinearRegression"), LinearRegression)


@pytest.mark.parametrize(
    ("factory", "why"),
    [
        ("sklearn", "'sklearn' is not a factory: the form is module:function"),
        ("sklearn:../x", "the form is module:function"),
        (":make", "the form is module:function"),
        ("math:nothing", "module math has no function nothing"),
        ("math:pi", "module math has no function pi"),
        ("time:time", "time:time returned an object of type float, not an estimator"),
        ("sklearn.preprocessing:OrdinalEncoder", "a OrdinalEncoder, which has no predict"),
    ],
)
def test_an_invalid_factory_is_rejected_with_a_reason(factory: str, why: str) -> None:
    with pytest.raises(NotAnEstimator) as raised:
        make_estimator(factory)

    assert why in str(raised.value)


@pytest.mark.parametrize(
    ("returned", "why"),
    [
        (np.full((3, 2), np.nan), "a value that is not between 0 and 1"),
        (np.full((3, 2), 7.0), "a value that is not between 0 and 1"),
        (np.full((3, 2), "high"), "a value that is not between 0 and 1"),
        (np.zeros(3), r"an array \(3,\) for 3 rows and 2 classes"),
        (np.zeros((2, 2)), r"an array \(2, 2\) for 3 rows and 2 classes"),
        ([[1], [1, 2]], "did not return an array"),
        (None, r"an array \(\)"),
    ],
)
def test_invalid_probabilities_are_rejected_with_a_reason(returned: Any, why: str) -> None:
    with pytest.raises(InvalidPredictions, match=why):
        predictions(estimator_with("predict_proba", returned), ROWS, "binary", 1)


@pytest.mark.parametrize(
    ("task", "returned", "why"),
    [
        ("regression", np.array([1.0, np.nan, 2.0]), "not a finite number"),
        ("regression", np.array([1.0, np.inf, 2.0]), "not a finite number"),
        ("regression", np.array(["a", "b", "c"]), "not a finite number"),
        ("regression", np.zeros((3, 2)), "an array"),
        ("multiclass", np.array([1.5, 1.0, 2.0]), "1.5.*is not a class"),
        ("multiclass", np.array(["a", None, "c"], dtype=object), "None, which is not a class"),
    ],
)
def test_invalid_predictions_are_rejected_with_a_reason(task: Any, returned: Any, why: str) -> None:
    with pytest.raises(InvalidPredictions, match=why):
        predictions(estimator_with("predict", returned), ROWS, task, 1)


@pytest.mark.parametrize("positive", [1, 1.0, True, "1"])
def test_a_class_is_the_same_however_it_was_written(positive: Any) -> None:
    table = np.array([[0.9, 0.1], [0.2, 0.8], [1.0, 0.0]])

    for classes in [(0, 1), (0.0, 1.0), (False, True), ("0", "1")]:
        model = estimator_with("predict_proba", table, classes)
        assert predictions(model, ROWS, "binary", positive) == [0.1, 0.8, 0.0]


def test_a_model_that_never_saw_a_positive_gives_it_no_chance() -> None:
    model = estimator_with("predict_proba", np.ones((3, 1)), (0,))

    assert predictions(model, ROWS, "binary", 1) == [0.0, 0.0, 0.0]


def test_the_task_follows_from_the_estimator_and_its_labels() -> None:
    assert task_of(LinearRegression(), pd.Series([1, 2])) == "regression"
    assert task_of(LogisticRegression(), pd.Series(["a", "b"])) == "binary"
    assert task_of(LogisticRegression(), pd.Series([1, 2, 3])) == "multiclass"
