"""Numbers as moments: what they count since 1970 is told by their size; days are none."""

from __future__ import annotations

import numpy as np

from producer.times import FIRST_DAY, LAST_DAY, is_day, milliseconds_power
from stream_monitor.statistics.fixed_point import Bools, Floats


def epoch_ms(clock: Floats) -> Floats:
    """Milliseconds of a column (n,) that counts seconds, milli-, micro- or nanoseconds.

    Which of them most of its rows say; one that says another is not another unit, it is wrong.

    Raises:
        ValueError: a row counts in another unit than most of them.

    >>> epoch_ms(np.array([1_700_000_000.5, np.nan]))
    array([1.7e+12,     nan])
    """
    sizes = np.abs(clock[np.isfinite(clock)])
    if not len(sizes):
        return clock
    power = milliseconds_power(float(np.median(sizes)))
    if power != milliseconds_power(float(sizes.max())):
        raise ValueError(f"{sizes.max():.0f} is no time beside {np.median(sizes):.0f}")
    scaled: Floats = np.rint(clock * 1000.0**power)
    return scaled


def calendar_dates(clock: Floats) -> Bools:
    """Which of the numbers (n,) are days like 20240131; none where they need not be.

    As seconds all would lie in 1970, and it would be chance that each one reads as a day.

    >>> calendar_dates(np.array([20240131.0, 20240201.0])), calendar_dates(np.array([20240131.0, 7.0]))
    (array([ True,  True]), array([False, False]))
    """
    whole = np.isfinite(clock) & (clock >= FIRST_DAY) & (clock <= LAST_DAY) & (clock % 1 == 0)
    all_days = bool(whole.all()) and all(is_day(day) for day in np.unique(clock).tolist())
    return np.full(len(clock), all_days, dtype=np.bool_)
