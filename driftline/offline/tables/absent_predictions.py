"""Rows without a prediction: a JSON object that lacks the key, an event of the log that has none.

The reader marks them ``UNSET``.  A null, or an empty field of a CSV file, is a prediction that is
invalid.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from msgspec import UNSET

from stream_monitor.statistics.fixed_point import Bools


def absent(series: pd.Series[Any]) -> Bools:
    """Which of the n rows have no value at all, shape (n,).

    >>> absent(pd.Series([0.5, None, UNSET], dtype=object)).tolist(), absent(pd.Series([1.5]))
    ([False, False, True], array([False]))
    """
    if series.dtype != object:
        return np.zeros(len(series), dtype=np.bool_)
    return np.fromiter((value is UNSET for value in series), dtype=np.bool_, count=len(series))


def present(series: pd.Series[Any]) -> pd.Series[Any]:
    """The rows that have a value, valid or not."""
    without = absent(series)
    return series[~without] if without.any() else series
