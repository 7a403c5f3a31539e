"""The flights of the demo, and the incident in which temperatures have the wrong unit."""

from __future__ import annotations

from importlib.resources import as_file, files

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from driftline.demo.scenario import (
    BROKEN_FEATURE,
    FEATURES,
    INCIDENT_MS,
    LATE_MINUTES,
    TRAINING_SHARE,
)


def load() -> pd.DataFrame:
    """All flights, sorted by scheduled departure.

    Columns: `FEATURES`, ``id``, ``time_ms`` (scheduled departure) and ``late`` (0 or 1).
    """
    with as_file(files("driftline.demo") / "data" / "flights.csv.gz") as path:
        frame = pd.read_csv(path, dtype={"carrier": "object"})
    departure = pd.to_datetime(frame["departure"], format="%Y-%m-%dT%H:%MZ", utc=True)
    frame["time_ms"] = departure.dt.as_unit("ms").astype("int64")
    frame["late"] = (frame["arr_delay"] > LATE_MINUTES).astype("int64")
    frame["id"] = [f"flight-{row:05d}" for row in range(len(frame))]
    return frame[["id", "time_ms", *FEATURES, "late"]]


def split(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The first tenth of the flights, for training, and the rest, for serving."""
    n_training = len(frame) // TRAINING_SHARE
    return frame.iloc[:n_training], frame.iloc[n_training:].reset_index(drop=True)


def in_incident(times_ms: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return a mask (n,) of the times within the incident."""
    start, end = INCIDENT_MS
    return (times_ms >= start) & (times_ms < end)


def celsius(fahrenheit: pd.Series) -> pd.Series:
    """Temperatures in degrees Celsius, rounded to a hundredth.

    >>> celsius(pd.Series([32.0, 212.0])).tolist()
    [0.0, 100.0]
    """
    return ((fahrenheit - 32) / 1.8).round(2)


def with_incident(frame: pd.DataFrame) -> pd.DataFrame:
    """A copy in which the temperatures of the incident are in degrees Celsius."""
    broken = in_incident(frame["time_ms"].to_numpy())
    out = frame.copy()
    out.loc[broken, BROKEN_FEATURE] = celsius(frame.loc[broken, BROKEN_FEATURE])
    return out
