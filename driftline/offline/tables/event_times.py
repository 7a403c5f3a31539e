"""Read event times of rows; an ambiguous format is rejected, never guessed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from driftline.offline.tables.convert import floats_of
from driftline.offline.tables.source_error import SourceError
from producer.times import is_epoch_number
from stream_monitor.reference.epoch_times import OtherTimeUnit, calendar_dates, epoch_ms
from stream_monitor.reference.values import category
from stream_monitor.statistics.fixed_point import Bools, Floats

_FORMAT_EXAMPLES: Final = (
    '"%d.%m.%Y %H:%M" for 31.01.2024 13:05, "%m/%d/%Y" for 01/31/2024, "%Y%m%d" for 20240131'
)
_AS_WRITTEN: Final = (
    "give the format, because the order of day and month is never guessed: --time-format "
    f"{_FORMAT_EXAMPLES}"
)
_OUTSIDE: Final = "remove such rows, or name another column with --time"


def times_ms(series: pd.Series[Any]) -> Sequence[int]:
    """The event time (ms) of every row: ISO 8601, or a number since 1970; UTC without a zone.

    Seconds, milli-, micro- and nanoseconds are recognised by their size.

    Raises:
        SourceError: a row has no time, or another unit, or numbers are days like 20240131.
    """
    if _count_since_1970(series):
        series = pd.to_numeric(series)
    if pd.api.types.is_bool_dtype(series):
        _reject_rows(series, np.ones(len(series), dtype=np.bool_), "is not a time", fix=_OUTSIDE)
    if pd.api.types.is_numeric_dtype(series):
        clock = floats_of(series)
        _reject_rows(
            series, calendar_dates(clock), "looks like a calendar date, not a number since 1970"
        )
        try:
            numbers: Floats = epoch_ms(clock)
        except OtherTimeUnit as error:
            raise SourceError(
                f"--time {series.name}: row {series.index[error.row]}: {error}",
                fix="write all times in one unit, such as milliseconds since 1970",
            ) from error
        bad = ~(np.isfinite(numbers) & (numbers >= 0))
        _reject_rows(series, bad, "is not a time since 1970", fix=_OUTSIDE)
    else:
        moments = pd.to_datetime(series, errors="coerce", format="ISO8601", utc=True)
        bad = moments.isna().to_numpy()
        _reject_rows(series, bad, "is not a time (ISO 8601, or a number)")
        numbers = np.asarray(moments.dt.as_unit("ms").astype("int64"), dtype=np.float64)
        _reject_rows(series, numbers < 0, "is before 1970", fix=_OUTSIDE)
    times: list[int] = numbers.astype(np.int64).tolist()
    return times


def _count_since_1970(series: pd.Series[Any]) -> bool:
    """Whether the times are texts with numbers since 1970, like 1711800000."""
    texts = series.dropna()
    return len(texts) > 0 and all(isinstance(text, str) and is_epoch_number(text) for text in texts)


def with_times(frame: pd.DataFrame, column: str | None, written: str | None) -> pd.DataFrame:
    """The frame with the times in ``column`` parsed with the format ``written``, if there is one.

    The format is one of ``strptime``, and also applies to whole numbers like 20240131.

    Raises:
        SourceError: the format is invalid, or a row has another one.

    >>> rows = pd.DataFrame({"at": ["01.02.2024 13:05", "02.02.2024 00:00"]})
    >>> times_ms(with_times(rows, "at", "%d.%m.%Y %H:%M")["at"])[0]
    1706792700000
    """
    if written is None:
        return frame
    if column is None:
        raise SourceError("--time-format needs --time", fix="name the column with --time")
    if "%" not in written:  # pandas has names such as "mixed", which guess
        raise SourceError(
            f"--time-format {written!r} has no part of a time",
            fix=f"write it like {_FORMAT_EXAMPLES}",
        )
    if column not in frame:
        return frame  # the caller reports a missing column
    series = frame[column]
    if pd.api.types.is_datetime64_any_dtype(series):
        return frame
    texts = series.map(category, na_action="ignore")
    try:
        moments = pd.to_datetime(texts, errors="coerce", format=written, utc=True)
    except ValueError as error:
        raise SourceError(
            f"--time-format {written!r}: {error}", fix=f"write it like {_FORMAT_EXAMPLES}"
        ) from error
    _reject_rows(series, moments.isna().to_numpy(), f"does not have the --time-format {written!r}")
    return frame.assign(**{column: moments})


def _reject_rows(series: pd.Series[Any], bad: Bools, why: str, fix: str = _AS_WRITTEN) -> None:
    """Reject the first row of the mask ``bad`` (n,), if there is one.

    Raises:
        SourceError: there is a bad row; names it, its value and ``why``.
    """
    if not bad.any():
        return
    row = int(np.flatnonzero(bad)[0])
    where = f"--time {series.name}: row {series.index[row]}"
    if pd.isna(series.iloc[row]):
        raise SourceError(f"{where} has no time", fix="remove rows without a time")
    value = series.iloc[row]
    shown = repr(value.item() if hasattr(value, "item") else value)
    raise SourceError(f"{where}: {shown} {why}", fix=fix)
