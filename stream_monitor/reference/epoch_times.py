"""Converts numbers to event times; their size determines the unit."""

from __future__ import annotations

import numpy as np

from producer.times import FIRST_DAY, LAST_DAY, is_day, milliseconds_power
from stream_monitor.statistics.fixed_point import Bools, Floats


class OtherTimeUnit(ValueError):  # noqa: N818 - a finding about data
    """The number of a ``row`` is in another unit than that of most rows."""

    def __init__(self, row: int, odd: float, usual: float) -> None:
        super().__init__(f"{odd:.0f} is not in the unit of {usual:.0f}")
        self.row = row


def epoch_ms(clock: Floats) -> Floats:
    """Milliseconds since 1970 of a column (n,) of seconds, milli-, micro- or nanoseconds.

    The unit is that of most rows; a row in another unit is an error.

    Raises:
        OtherTimeUnit: a row is in another unit than most rows.

    >>> epoch_ms(np.array([1_700_000_000.5, np.nan]))
    array([1.7e+12,     nan])
    """
    sizes = np.abs(np.where(np.isfinite(clock), clock, np.nan))
    if np.isnan(sizes).all():
        return clock
    usual = float(np.nanmedian(sizes))
    power = milliseconds_power(usual)
    for row in (int(np.nanargmax(sizes)), int(np.nanargmin(sizes))):
        if sizes[row] and milliseconds_power(float(sizes[row])) != power:
            raise OtherTimeUnit(row, float(sizes[row]), usual)
    scaled: Floats = np.rint(clock * 1000.0**power)
    return scaled


def calendar_dates(clock: Floats) -> Bools:
    """Return a mask (n,) of dates like 20240131; all false unless every number is one.

    As seconds such numbers would be in 1970, and all of them dates only by chance.

    >>> calendar_dates(np.array([20240131.0, 20240201.0]))
    array([ True,  True])
    >>> calendar_dates(np.array([20240131.0, 7.0]))
    array([False, False])
    """
    whole = np.isfinite(clock) & (clock >= FIRST_DAY) & (clock <= LAST_DAY) & (clock % 1 == 0)
    all_days = bool(whole.all()) and all(is_day(day) for day in np.unique(clock).tolist())
    return np.full(len(clock), all_days, dtype=np.bool_)
