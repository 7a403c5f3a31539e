"""The error of a prediction, and none where it cannot be computed."""

from __future__ import annotations

from typing import Any

import pytest

from stream_monitor.reference.loss import prediction_loss, score_of

NAN = float("nan")


@pytest.mark.parametrize(
    ("positive", "prediction", "label", "loss"),
    [
        (1, 0.7, 1, 0.0),
        (1, 0.7, 0, 1.0),
        (1, 0.5, True, 0.0),
        (1, 0.2, False, 0.0),
        (1, 1, 1.0, 0.0),
        (1, True, 0, 1.0),
        (1, "1", 1, 0.0),
        (1, "0", 1, 1.0),
        (1, {"0": 0.1, "1": 0.9}, 1, 0.0),
        (True, {"1": 0.9}, 0, 1.0),
        ("late", {"late": 0.9, "on time": 0.1}, "late", 0.0),
        ("late", 0.9, "on time", 1.0),
        ("late", 0.9, 1, 0.0),
        ("late", "on time", "late", 1.0),
        (2, 0.9, 1, 1.0),
        (2, 0.9, 2, 0.0),
        ("2", 0.2, 1, 0.0),
        (1, -1, -1, 0.0),
        (1, {"a": 0.5}, 1, None),
        (1, {}, 1, None),
        (1, NAN, 1, None),
        (1, 0.7, NAN, None),
        (1, 0.7, None, None),
        (1, None, 1, None),
        (1, {"1": NAN}, 1, None),
    ],
)
def test_the_loss_of_a_binary_model(
    positive: Any, prediction: Any, label: Any, loss: float | None
) -> None:
    assert prediction_loss("binary", 0.5, positive, prediction, label) == loss


@pytest.mark.parametrize(
    ("prediction", "label", "loss"),
    [
        ("UA", "UA", 0.0),
        ("UA", "AA", 1.0),
        (3, "3", 0.0),
        (3.0, 3, 0.0),
        ({"UA": 0.2, "AA": 0.8}, "AA", 0.0),
        ({"UA": NAN, "AA": 0.1}, "AA", 0.0),
        ({}, "AA", None),
        (0.5, "AA", None),
        ("UA", None, None),
    ],
)
def test_the_loss_of_a_classifier(prediction: Any, label: Any, loss: float | None) -> None:
    assert prediction_loss("multiclass", 0.5, 1, prediction, label) == loss


@pytest.mark.parametrize(
    ("prediction", "label", "loss"),
    [
        (2.5, 4, 1.5),
        (4, 2.5, 1.5),
        (NAN, 1, None),
        ("4", 4, None),
        (4, "4", None),
        ({"a": 1.0}, 4, None),
        (10**400, 4, None),
        (1e308, -1e308, None),
    ],
)
def test_the_loss_of_a_regression(prediction: Any, label: Any, loss: float | None) -> None:
    assert prediction_loss("regression", 0.5, 1, prediction, label) == loss


def test_a_map_becomes_the_positive_probability_or_the_most_probable_class() -> None:
    assert score_of({"no": 0.3, "yes": 0.7}, "binary", "yes") == 0.7
    assert score_of({"no": 0.3}, "binary", "yes") is None
    assert score_of({"a": 0.2, "b": 0.8}, "multiclass", 1) == "b"
    assert score_of(12.5, "regression", 1) == 12.5
