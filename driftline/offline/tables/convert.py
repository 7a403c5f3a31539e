"""Convert the columns of a file to their kinds: numbers, booleans and texts."""

from __future__ import annotations

import decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from driftline.offline.tables.column_inference import ColumnKind, InferredColumn
from driftline.offline.tables.column_statistics import float_of
from driftline.offline.tables.number_formats import numbers_in
from stream_monitor.reference.values import category
from stream_monitor.statistics.fixed_point import Floats

_WORDS = {"true": True, "false": False}
_DIGITS = {"1": True, "0": False}


def typed(series: pd.Series[Any], inferred: InferredColumn) -> pd.Series[Any]:
    """The column converted to its inferred kind; values of another kind stay unchanged."""
    if isinstance(series.dtype, pd.CategoricalDtype):
        series = series.astype(series.cat.categories.dtype)
    if inferred.kind == "numeric":
        return _numeric(series, inferred)
    if inferred.whole_codes and isinstance(series.dtype, pd.StringDtype):
        return series.str.replace(r"\.0+$", "", regex=True)  # as pandas writes them
    if inferred.kind == "boolean" and not pd.api.types.is_bool_dtype(series.dtype):
        is_text = isinstance(series.dtype, pd.StringDtype)  # as in CSV, where 0 and 1 are texts
        words = _WORDS | _DIGITS if is_text else _WORDS
        return series.astype(object).map(
            lambda v: words.get(v.strip().lower(), v) if isinstance(v, str) else v
        )
    return series


def _numeric(series: pd.Series[Any], inferred: InferredColumn) -> pd.Series[Any]:
    if pd.api.types.is_timedelta64_dtype(series.dtype):
        seconds: pd.Series[Any] = series.dt.total_seconds()
        return seconds
    if pd.api.types.is_numeric_dtype(series.dtype):
        return series
    if isinstance(series.dtype, pd.StringDtype):
        texts = pa.array(series, type=pa.string(), from_pandas=True)
        found = numbers_in(texts, inferred.style)
        if found.null_count == texts.null_count:
            return _of_arrow(found, series)
        numbers = found.to_pylist()
        return pd.Series(
            [
                text if number is None else number
                for number, text in zip(numbers, texts.to_pylist(), strict=True)
            ],
            index=series.index,
            dtype=object,
        )
    return series.map(lambda value: _number(value, inferred)).infer_objects()


def _of_arrow(found: Any, series: pd.Series[Any]) -> pd.Series[Any]:
    if found.null_count and pa.types.is_integer(found.type):
        column = found.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
    else:
        column = found.to_pandas()
    return pd.Series(column).set_axis(series.index)


def _number(value: Any, inferred: InferredColumn) -> Any:
    if isinstance(value, str):
        found = numbers_in(pa.array([value]), inferred.style)[0].as_py()
        return value if found is None else found
    if isinstance(value, decimal.Decimal):
        return float_of(value)
    if isinstance(value, pd.Timedelta):
        return value.total_seconds()
    return value


def values_of(series: pd.Series[Any], kind: ColumnKind) -> list[Any]:
    """The values as in an event: plain Python, ``None`` for a missing value.

    A text in a numeric column stays a text, so that the monitor counts it as invalid.
    """
    if kind == "numeric":
        floats = floats_of(series)
        finite = np.isfinite(floats)
        plain: list[Any] = floats.tolist()
        for row in np.flatnonzero(~finite).tolist():
            value = series.iloc[row]
            plain[row] = value if isinstance(value, str) else None
        return plain
    filled = series.astype(object).where(series.notna(), None).tolist()
    if kind == "boolean":
        return [bool(value) if isinstance(value, np.bool_) else value for value in filled]
    return [value if type(value) is str or value is None else _text(value) for value in filled]


def plain_of(series: pd.Series[Any]) -> list[Any]:
    """Predictions, labels or ids as plain Python, ``None`` for a missing value."""
    values: list[Any] = series.astype(object).where(series.notna(), None).tolist()
    return [_plain(value) for value in values]


def _plain(value: Any) -> Any:
    """A value without types of numpy, as Parquet files have them in lists and objects."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return [_plain(one) for one in value.tolist()]
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return value


def _text(value: Any) -> str:
    """The name of a category; 101 and 101.0 are the same category."""
    return category(value) or str(value)


def floats_of(series: pd.Series[Any]) -> Floats:
    """The values (n,) as numbers, NaN for other values."""
    if not pd.api.types.is_numeric_dtype(series):
        series = pd.to_numeric(series.astype(object), errors="coerce")
    return series.to_numpy(dtype=np.float64, na_value=np.nan)
