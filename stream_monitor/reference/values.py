"""Converts values as they were sent to arrays, with their validity.

Total: no value raises.  A value that does not fit the kind is invalid, and does not affect the
others.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import repeat
from typing import Any, Final, TypeAlias

import numpy as np

from producer.events import Value
from stream_monitor.statistics.fixed_point import Bools, Floats, Ints

Column: TypeAlias = Sequence[Value] | Floats
MAX_MAGNITUDE: Final = 1e100
"""A larger number is invalid: the sum of many squares would overflow."""

_NUMBERS: Final = frozenset((float, int, bool, type(None)))
_NAMES: Final = frozenset((str, type(None)))
_WORDS: Final = {"true": 1.0, "false": 0.0}


def numbers(column: Column) -> tuple[Bools, Floats]:
    """Validity and value of numeric values, both (n,); the value of an invalid one is undefined.

    >>> valid, values = numbers([1, None, 2.5, "7", float("inf"), True])
    >>> valid.tolist(), values[valid].tolist()
    ([True, False, True, False, False, True], [1.0, 2.5, 1.0])
    """
    values = _floats(column)
    return np.abs(values) <= MAX_MAGNITUDE, values


def booleans(column: Column) -> tuple[Bools, Floats]:
    """Validity and value (0 or 1) of True, False, 0, 1 and the words for them.

    >>> valid, values = booleans([True, 0, "true", 2, None])
    >>> valid.tolist(), values[valid].tolist()
    ([True, True, True, False, False], [1.0, 0.0, 1.0])
    """
    values = _floats(column, _WORDS)
    return (values == 0) | (values == 1), values


def codes(column: Column, index_of: dict[str, int]) -> Ints:
    """The index of each category, -1 where it is missing or not known; shape (n,)."""
    plain: Sequence[Any] = column.tolist() if isinstance(column, np.ndarray) else column
    if not _NAMES.issuperset(map(type, plain)):
        plain = [category(value) for value in plain]
    return np.fromiter(map(index_of.get, plain, repeat(-1)), dtype=np.int64, count=len(plain))


def category(value: Any) -> str | None:
    """The name of a class in any type that was sent; ``None`` where there is none.

    >>> category("UA"), category(3), category(3.0), category(True), category(3.5)
    ('UA', '3', '3', 'True', None)
    """
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else None
    return str(value) if isinstance(value, int | np.integer | np.bool_) else None


def _floats(column: Column, words: dict[str, float] | None = None) -> Floats:
    """Values as float64, NaN for those that are no number."""
    if isinstance(column, np.ndarray):
        if column.dtype.kind in "fiub":
            return column.astype(np.float64, copy=False)
        column = column.tolist()
    try:
        return np.frombuffer(array("d", column))  # the usual case: numbers, none missing
    except (TypeError, OverflowError):
        pass
    if _NUMBERS.issuperset(map(type, column)):
        try:
            return np.array(column, dtype=np.float64)
        except OverflowError:
            pass  # an integer too large for a float: convert one by one
    return np.array([_float(value, words or {}) for value in column], dtype=np.float64)


def _float(value: Any, words: dict[str, float]) -> float:
    if isinstance(value, str):
        return words.get(value.lower(), np.nan)
    if isinstance(value, int | float | np.integer | np.floating | np.bool_):
        try:
            return float(value)
        except OverflowError:
            return np.nan
    return np.nan
