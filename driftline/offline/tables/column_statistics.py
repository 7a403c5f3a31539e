"""Statistics of a column, counted chunk by chunk, from which its kind is inferred.

A file of any size is counted once; all commands count in the same way.
"""

from __future__ import annotations

import datetime as dt
import decimal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from driftline.offline.tables.absent_predictions import present
from driftline.offline.tables.number_formats import NumberStyle, count_number_formats, floats_in
from stream_monitor.reference.values import category
from stream_monitor.statistics.fixed_point import Floats

Form: TypeAlias = Literal[
    "text", "number", "boolean", "time", "clock", "duration", "bytes", "nested"
]

MAX_DISTINCT: Final = 1_000
_DATE: Final = (
    r"^\s*(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{4}"
    r"|\d{1,2}[-/]\d{1,2}[-/]\d{2}|\d{2}\.\d{2}\.\d{2}"
    r"|\d{1,2}[- ](?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*[- ]\d{2,4}"
    r"|(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]* \d{1,2},? \d{4})"
    r"(?:[T ].*)?$"
)
_WORD: Final = r"^(?i:true|false)$"
_FRACTION: Final = r"[.eE]"
_MOSTLY: Final = 0.5
EXACT: Final = 2.0**53  # above, a float cannot hold every whole number


_FORMS: Final[tuple[tuple[tuple[type, ...], Form], ...]] = (
    ((str,), "text"),
    ((bool, np.bool_), "boolean"),
    ((dt.timedelta, np.timedelta64), "duration"),  # before numbers: NumPy's is one of them
    ((int, float, np.integer, np.floating, decimal.Decimal), "number"),
    ((dt.date, np.datetime64), "time"),
    ((dt.time,), "clock"),
    ((bytes, bytearray, memoryview), "bytes"),
    ((dict, list, tuple, set, np.ndarray), "nested"),
)


@dataclass
class ColumnStatistics:
    """Statistics of one column; texts that are numbers, dates or booleans are counted as such."""

    rows: int = 0
    missing: int = 0
    forms: Counter[Form] = field(default_factory=Counter)
    point: int = 0
    comma: int = 0
    only_point: int = 0
    only_comma: int = 0
    either_comma: int = 0
    zeros: int = 0
    affixed: int = 0
    dates: int = 0
    words: int = 0
    whole: bool = True
    rising: bool = True
    stepping: bool = True
    steps: int = 0
    falls: int = 0
    largest: float = 0.0
    lowest: float = float("inf")
    highest: float = float("-inf")
    first: float | None = None
    last: float | None = None
    numbers: set[float] = field(default_factory=set)
    names: set[str] = field(default_factory=set)

    @property
    def known(self) -> int:
        """The number of values that are not missing."""
        return self.rows - self.missing

    def add(self, series: pd.Series[Any]) -> None:
        """Count the next values of the column."""
        self.rows += len(series)
        known = present(series.dropna())
        self.missing += len(series) - len(known)
        for form, part in forms_of(known):
            self.forms[form] += len(part)
            if form == "text":
                self._add_texts(pa.array(part, type=pa.string()))
            elif form in ("number", "duration"):
                self._add_numbers(part.to_numpy(dtype=np.float64), floats=_are_floats(known))
                if len(self.forms) > 1:
                    self._add_names(part.head(MAX_DISTINCT).tolist())
            elif form == "boolean":
                self._add_names(part.drop_duplicates().tolist())
            elif form == "nested":
                self.rising = False

    def add_missing(self, rows: int) -> None:
        """Count the rows of a chunk without the column."""
        self.rows += rows
        self.missing += rows

    def _add_texts(self, texts: Any) -> None:
        found = count_number_formats(texts)
        for name, count in found._asdict().items():
            setattr(self, name, getattr(self, name) + count)
        if max(found.point, found.comma) < len(texts):
            self.dates += _matches(texts, _DATE)
            self.words += _matches(texts, _WORD)
        if found.point:
            floats = floats_in(texts, NumberStyle(affixed=found.affixed > 0))
            self._add_numbers(
                floats[~np.isnan(floats)],
                floats=_matches(texts, _FRACTION) >= _MOSTLY * len(floats),
            )
        if len(self.names) <= MAX_DISTINCT:
            self._add_names(pc.unique(texts).to_pylist())

    def _add_numbers(self, values: Floats, *, floats: bool) -> None:
        """Count numbers; ``floats``: their type is float, in which every large number is whole."""
        finite = values[np.isfinite(values)]
        if not len(finite):
            return
        before = finite if self.last is None else np.concatenate(([self.last], finite))
        steps = np.diff(before)
        self.steps += len(steps)
        self.falls += int(np.count_nonzero(steps < 0))
        self.rising = self.rising and bool((steps >= 0).all())
        self.stepping = self.stepping and bool((steps == 1).all())
        self.first = float(finite[0]) if self.first is None else self.first
        self.last = float(finite[-1])
        self.lowest = min(self.lowest, float(finite.min()))
        self.highest = max(self.highest, float(finite.max()))
        largest = float(np.abs(finite).max(initial=0.0))
        whole = bool((finite == np.rint(finite)).all()) and not (floats and largest >= EXACT)
        self.whole = self.whole and whole
        self.largest = max(self.largest, largest)
        if len(self.numbers) <= MAX_DISTINCT:
            self.numbers.update(np.unique(finite)[: MAX_DISTINCT + 1].tolist())

    def _add_names(self, values: list[Any]) -> None:
        for value in values:
            if len(self.names) > MAX_DISTINCT:
                return
            self.names.add(value if isinstance(value, str) else category(value) or str(value))


def forms_of(known: pd.Series[Any]) -> Iterator[tuple[Form, pd.Series[Any]]]:
    """The values by form, without missing ones; numbers as floats, durations in seconds."""
    kind = pd.api.types
    if not len(known):
        return
    if isinstance(known.dtype, pd.CategoricalDtype):
        known = known.astype(known.cat.categories.dtype)
    if kind.is_bool_dtype(known.dtype):
        yield "boolean", known
    elif kind.is_numeric_dtype(known.dtype):
        yield "number", known
    elif kind.is_datetime64_any_dtype(known.dtype) or isinstance(known.dtype, pd.PeriodDtype):
        yield "time", known
    elif kind.is_timedelta64_dtype(known.dtype):
        yield "duration", known.dt.total_seconds()
    elif isinstance(known.dtype, pd.StringDtype):
        yield "text", known
    else:
        yield from _mixed(known.astype(object))


def _are_floats(known: pd.Series[Any]) -> bool:
    """Whether most of the numbers have the type float, not an integer type.

    >>> _are_floats(pd.Series([1.5e17])), _are_floats(pd.Series([2**60, 2**61], dtype=object))
    (True, False)
    """
    if known.dtype != object:
        return pd.api.types.is_float_dtype(known.dtype)
    return float(known.map(lambda value: isinstance(value, float | np.floating)).mean()) >= _MOSTLY


def form_of(value: Any) -> Form:
    """The form of one value.

    >>> form_of("x"), form_of(True), form_of(decimal.Decimal(1)), form_of([1])
    ('text', 'boolean', 'number', 'nested')
    """
    return next((form for types, form in _FORMS if isinstance(value, types)), "text")


def _mixed(known: pd.Series[Any]) -> Iterator[tuple[Form, pd.Series[Any]]]:
    forms = known.map(form_of)
    for form in sorted(set(forms)):
        part = known[forms == form]
        if form == "text":
            part = part.map(str)
        elif form == "number":
            part = part.map(float_of).astype(np.float64)
        elif form == "duration":
            part = pd.to_timedelta(part).dt.total_seconds()
        yield form, part


def float_of(value: Any) -> float:
    """A number as a float; a number too large for a float becomes infinite."""
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _matches(texts: Any, pattern: str) -> int:
    return int(pc.sum(pc.match_substring_regex(texts, pattern)).as_py() or 0)
