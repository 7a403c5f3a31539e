"""Event times of recorded traffic, however they are written; what may be read two ways is not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from driftline.offline.tables.convert import floats_of
from driftline.offline.tables.source_error import SourceError
from producer.times import is_epoch_number
from stream_monitor.reference.epoch_times import calendar_dates, epoch_ms
from stream_monitor.reference.values import category
from stream_monitor.statistics.fixed_point import Bools, Floats

_FORMAT_EXAMPLES: Final = (
    '"%d.%m.%Y %H:%M" for 31.01.2024 13:05, "%m/%d/%Y" for 01/31/2024, "%Y%m%d" for 20240131'
)
_AS_WRITTEN: Final = (
    f"say how it is written, day and month are never guessed: --time-format {_FORMAT_EXAMPLES}"
)
_OUTSIDE: Final = "leave out such rows, or name another column with --time"


def times_ms(series: pd.Series[Any]) -> Sequence[int]:
    """Event time of every row: ISO 8601, or a number since 1970; without a zone it is UTC.

    Seconds, milli-, micro- and nanoseconds are told apart by their size.

    Raises:
        SourceError: a row has no time, or another unit, or numbers are days like 20240131.
    """
    if _count_since_1970(series):
        series = pd.to_numeric(series)
    if pd.api.types.is_bool_dtype(series):
        _reject_rows(series, np.ones(len(series), dtype=np.bool_), "is not a time", fix=_OUTSIDE)
    if pd.api.types.is_numeric_dtype(series):
        clock = floats_of(series)
        _reject_rows(series, calendar_dates(clock), "looks like a day, not seconds since 1970")
        try:
            numbers: Floats = epoch_ms(clock)
        except ValueError as error:
            raise SourceError(f"--time {series.name}: {error}") from error
        bad = ~(np.isfinite(numbers) & (numbers >= 0))
        _reject_rows(series, bad, "is not a time since 1970", fix=_OUTSIDE)
    else:
        moments = pd.to_datetime(series, errors="coerce", format="ISO8601", utc=True)
        bad = moments.isna().to_numpy()
        _reject_rows(series, bad, "is not a time (ISO 8601, or a number)")
        numbers = np.asarray(moments.dt.as_unit("ms").astype("int64"), dtype=np.float64)
        _reject_rows(series, numbers < 0, "lies before 1970", fix=_OUTSIDE)
    times: list[int] = numbers.astype(np.int64).tolist()
    return times


def _count_since_1970(series: pd.Series[Any]) -> bool:
    """Whether the times are texts that are numbers, like 1711800000, and no dates."""
    texts = series.dropna()
    return len(texts) > 0 and all(isinstance(text, str) and is_epoch_number(text) for text in texts)


def with_times(frame: pd.DataFrame, column: str | None, written: str | None) -> pd.DataFrame:
    """The frame with its times read as they are ``written``; without a format it stays as it is.

    ``written`` is a format as ``strptime`` knows it, and reads whole numbers like 20240131, too.

    Raises:
        SourceError: it is no format, or a row is written otherwise; says which.

    >>> rows = pd.DataFrame({"at": ["01.02.2024 13:05", "02.02.2024 00:00"]})
    >>> times_ms(with_times(rows, "at", "%d.%m.%Y %H:%M")["at"])[0]
    1706792700000
    """
    if written is None:
        return frame
    if column is None:
        raise SourceError("--time-format: of which column?", fix="--time COLUMN")
    if "%" not in written:  # pandas has words for guessing
        raise SourceError(
            f"--time-format {written!r} names no part of a time", fix=_FORMAT_EXAMPLES
        )
    if column not in frame:
        return frame  # whoever asks what the columns are says so
    series = frame[column]
    if pd.api.types.is_datetime64_any_dtype(series):
        return frame
    texts = series.map(category, na_action="ignore")
    try:
        moments = pd.to_datetime(texts, errors="coerce", format=written, utc=True)
    except ValueError as error:
        raise SourceError(f"--time-format {written!r}: {error}", fix=_FORMAT_EXAMPLES) from error
    _reject_rows(
        series, moments.isna().to_numpy(), f"is not written like --time-format {written!r}"
    )
    return frame.assign(**{column: moments})


def _reject_rows(series: pd.Series[Any], bad: Bools, why: str, fix: str = _AS_WRITTEN) -> None:
    """Raises SourceError for the first ``bad`` row (n,), if there is one."""
    if not bad.any():
        return
    row = int(np.flatnonzero(bad)[0])
    where = f"--time {series.name}: row {series.index[row]}"
    if pd.isna(series.iloc[row]):
        raise SourceError(f"{where} has no time", fix="leave out rows without one")
    value = series.iloc[row]
    shown = repr(value.item() if hasattr(value, "item") else value)
    raise SourceError(f"{where}: {shown} {why}", fix=fix)
