"""The loss of one prediction against its label: the signal of concept drift."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, cast

import numpy as np

from producer.events import Prediction, Value
from stream_monitor.reference.profile import ClassLabel, Task
from stream_monitor.reference.values import Column, category
from stream_monitor.statistics.fixed_point import Floats


def score_of(prediction: Prediction, task: Task, positive: ClassLabel) -> Value:
    """Return a prediction as one value: a probability, a class or a number.

    A map of class to probability becomes the probability of the positive class of a binary model,
    and the most probable class of any other model.  Several outputs give ``None``.

    >>> score_of({"0": 0.2, "1": 0.8}, "binary", 1)
    0.8
    >>> score_of({"UA": 0.9, "AA": 0.1}, "multiclass", 1)
    'UA'
    """
    if isinstance(prediction, list):
        return None
    if not isinstance(prediction, dict):
        return prediction
    if task == "binary":
        return prediction.get(_class(positive) or "")
    return most_probable(prediction)


def scores_of(
    predictions: Sequence[Prediction] | Floats, task: Task, positive: ClassLabel
) -> Column:
    """`score_of` each prediction; predictions without maps are returned as they are.

    >>> scores_of([0.5, {"0": 0.2, "1": 0.8}], "binary", 1)
    [0.5, 0.8]
    """
    if isinstance(predictions, np.ndarray):
        return predictions
    if not {dict, list}.intersection(map(type, predictions)):
        return cast("Sequence[Value]", predictions)
    return [score_of(prediction, task, positive) for prediction in predictions]


def most_probable(probabilities: dict[str, float]) -> str | None:
    """The most probable class, the first of equals; ``None`` for an empty map.

    >>> most_probable({"a": 0.5, "b": 0.5}), most_probable({})
    ('a', None)
    """
    known = {name: p for name, p in probabilities.items() if _is_number(p)}
    return max(known, key=lambda name: known[name]) if known else None


def confidence_of(prediction: Prediction) -> float | None:
    """The probability of the predicted class of a map; ``None`` where there is none.

    >>> confidence_of({"UA": 0.7, "AA": 0.3}), confidence_of("UA")
    (0.7, None)
    """
    if not isinstance(prediction, dict):
        return None
    predicted = most_probable(prediction)
    return None if predicted is None else prediction[predicted]


def prediction_loss(
    task: Task, threshold: float, positive: ClassLabel, prediction: Prediction | None, label: Value
) -> float | None:
    """0/1 error of a classifier, absolute error of a regression; ``None`` if not comparable.

    A binary model predicts the probability of ``positive`` (predicted from ``threshold`` on), a
    class, or a map of class to probability; 0, 1, True and False are labels of any binary model
    whose classes are words.

    >>> prediction_loss("binary", 0.5, 1, 0.7, True)
    0.0
    >>> prediction_loss("binary", 0.5, "late", 0.7, "on time")
    1.0
    >>> prediction_loss("multiclass", 0.5, 1, {"UA": 0.9, "AA": 0.1}, "AA")
    1.0
    >>> prediction_loss("regression", 0.5, 1, 2.5, 4)
    1.5
    >>> prediction_loss("regression", 0.5, 1, 2.5, "4") is None
    True
    """
    if prediction is None or label is None:
        return None
    if task == "regression":
        return _absolute_error(prediction, label)
    if task == "multiclass":
        predicted = most_probable(prediction) if isinstance(prediction, dict) else prediction
        ours, truth = _class(predicted), _class(label)
        return None if ours is None or truth is None else float(ours != truth)
    predicted = _predicts_positive(prediction, threshold, positive)
    is_so = _is_positive(label, positive)
    return None if predicted is None or is_so is None else float(predicted != is_so)


def classes_of(labels: Sequence[Value]) -> list[str]:
    """The different classes among labels, by name.

    >>> classes_of(["yes", None, "no", "yes"]), classes_of([1.0, False])
    (['no', 'yes'], ['0', '1'])
    >>> classes_of([[1, 0], {"a": 1}])  # lists and maps name no class
    []
    """
    return sorted({name for label in labels if (name := _class(label)) is not None})


def lacks_positive(labels: Sequence[Value], positive: ClassLabel) -> bool:
    """Whether no label of a binary model is the positive class, although it has other classes.

    >>> lacks_positive(["yes", "no"], 1), lacks_positive(["yes", "no"], "yes")
    (True, False)
    >>> lacks_positive([0, 0], 1), lacks_positive([0, 1], "late")
    (False, False)
    """
    classes = {*classes_of(labels)}
    plain = {"0", "1"} if _is_word(positive) or _class(positive) in ("0", "1") else set()
    return not classes <= plain and _class(positive) not in classes


def positive_is_implied(classes: Iterable[str]) -> bool:
    """Whether the positive class of a binary model follows from its labels.

    >>> positive_is_implied(["0", "1"]), positive_is_implied(["-1", "1"])
    (True, True)
    >>> positive_is_implied(["1", "2"]), positive_is_implied(["yes"])
    (False, False)
    """
    names = set(classes)
    return names <= {"0", "1"} or names <= {"-1", "1"}


def is_comparable(label: Value, positive: ClassLabel, known: Sequence[str]) -> bool:
    """Whether a label of a binary model is one of its two classes.

    ``known`` are the classes of its reference; without them only those of `positive_is_implied`
    and ``positive`` are accepted.

    >>> is_comparable("yes", 1, ()), is_comparable(2, 1, ()), is_comparable(True, 1, ())
    (False, False, True)
    >>> is_comparable(2, 1, ("1", "2")), is_comparable("maybe", "yes", ("no", "yes"))
    (True, False)
    """
    name = _class(label)
    if name is None:
        return False
    if not known:
        return name in ("0", "1", "-1", _class(positive)) or _is_word(positive)
    return name in known or (
        name in ("0", "1") and (_is_word(positive) or positive_is_implied(known))
    )


def _absolute_error(prediction: Any, label: Value) -> float | None:
    if not (_is_number(prediction) and _is_number(label)):
        return None
    error = abs(float(prediction) - float(label or 0.0))
    return error if math.isfinite(error) else None


def _predicts_positive(
    prediction: Prediction, threshold: float, positive: ClassLabel
) -> bool | None:
    if isinstance(prediction, dict):
        probability = prediction.get(_class(positive) or "", math.nan)
        return probability >= threshold if _is_number(probability) else None
    if isinstance(prediction, bool | str):
        return _is_positive(prediction, positive)
    if isinstance(prediction, list) or prediction is None or not _is_number(prediction):
        return None
    if 0 <= prediction <= 1:
        return prediction >= threshold
    return _class(prediction) == _class(positive)


def _is_positive(value: Value, positive: ClassLabel) -> bool | None:
    """Whether a label, or a predicted class, is the positive one."""
    name = _class(value)
    if name is None:
        return None
    if name in ("0", "1") and _is_word(positive):
        return name == "1"
    return name == _class(positive)


def _is_word(positive: ClassLabel) -> bool:
    """Whether 0 and 1 are no classes themselves, as they are where the classes are 1 and 2."""
    return not (_class(positive) or "").removeprefix("-").isdecimal()


def _class(value: Any) -> str | None:
    """The name of a class; 1, 1.0, True and "1" have the same one."""
    return category(int(value) if isinstance(value, bool) else value)


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, int | float) and math.isfinite(value)
    except OverflowError:
        return False
