"""Several outputs of one prediction: a list of numbers, or a map of names to numbers.

Each output is watched like a prediction.  The predictions of the reference decide whether a model
has several outputs; a map of class to probability is a single prediction.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from msgspec import UNSET

from producer.events import Prediction
from stream_monitor.reference.values import Column
from stream_monitor.statistics.fixed_point import Floats

MAX_OUTPUTS: Final = 32
"""The most outputs of a model: each has as many detectors as a numeric feature."""
_SAMPLE: Final = 2_000
_ROUNDING: Final = 0.02


def output_names(predictions: Sequence[Any] | Floats, positive: str | None = None) -> list[str]:
    """The names of the outputs, in their order; empty where predictions are single values.

    The majority of the valid predictions decides.  A map is one of class to probability if its
    values are between 0 and 1 and add up to 1, or to less where rows name different classes; so is
    a map of the ``positive`` class alone.

    >>> output_names([[1.5, 20.0], [1.7, 21.0]]), output_names([{"eta": 30.2, "price": 99.0}])
    (['0', '1'], ['eta', 'price'])
    >>> output_names([0.5, None]), output_names([{"UA": 0.7, "AA": 0.3}])
    ([], [])
    >>> output_names([{"1": 0.7}], "1")
    []
    """
    if isinstance(predictions, np.ndarray):
        return []
    given = [p for p in predictions[:_SAMPLE] if p is not None and p is not UNSET]
    lists = [p for p in given if isinstance(p, list) and p]
    maps = [p for p in given if isinstance(p, dict) and p]
    if 2 * len(lists) > len(given):
        length, _ = Counter(map(len, lists)).most_common(1)[0]
        return [str(i) for i in range(length)]
    if 2 * len(maps) <= len(given) or not maps:
        return []
    names = Counter(name for one in maps for name in one)
    often = [name for name, count in names.items() if 2 * count > len(maps)]
    differing = len(names) > max(map(len, maps))
    probable = sum(_is_probable(one, partial=differing) for one in maps)
    if 2 * probable > len(maps) or often in ([], [positive]):
        return []
    return sorted(often)


def _is_probable(one: Mapping[str, Any], *, partial: bool) -> bool:
    """Whether a map may be one of class to probability."""
    values = [value for value in one.values() if isinstance(value, int | float)]
    if len(values) < len(one) or not all(0 <= value <= 1 + _ROUNDING for value in values):
        return False
    total = math.fsum(values)
    return total <= 1 + _ROUNDING and (partial or total >= 1 - _ROUNDING)


def output_columns(predictions: Sequence[Prediction], names: Sequence[str]) -> dict[str, Column]:
    """The values of each output, shape (n,); ``None`` where a prediction does not have them all.

    >>> output_columns([[1.0, 2.0], None, [3.0]], ["0", "1"])
    {'0': [1.0, None, None], '1': [2.0, None, None]}
    >>> output_columns([{"eta": 3.0}, 5.0], ["eta", "price"])
    {'eta': [3.0, None], 'price': [None, None]}
    """
    in_order = list(names) == [str(i) for i in range(len(names))]
    rows: list[Mapping[str, Any]] = []
    for prediction in predictions:
        if isinstance(prediction, dict):
            rows.append(prediction)
        elif in_order and isinstance(prediction, list) and len(prediction) == len(names):
            rows.append(dict(zip(names, prediction, strict=True)))
        else:
            rows.append({})
    return {name: [row.get(name) for row in rows] for name in names}
