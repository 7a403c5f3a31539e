"""Rows without a prediction: a JSON object without the key, or an event without a prediction.

The reader marks them ``UNSET``.  A null, or an empty field of a CSV file, is an invalid prediction.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from msgspec import UNSET

from stream_monitor.statistics.fixed_point import Bools


def absent(series: pd.Series[Any]) -> Bools:
    """The rows without a prediction, as a mask (n,).

    >>> absent(pd.Series([0.5, None, UNSET], dtype=object)).tolist(), absent(pd.Series([1.5]))
    ([False, False, True], array([False]))
    """
    if series.dtype != object:
        return np.zeros(len(series), dtype=np.bool_)
    return np.fromiter((value is UNSET for value in series), dtype=np.bool_, count=len(series))


def present(series: pd.Series[Any]) -> pd.Series[Any]:
    """The rows with a prediction, valid or not."""
    without = absent(series)
    return series[~without] if without.any() else series
