"""How many events a week of event time has, where nothing has changed."""

from __future__ import annotations

from typing import Final

import numpy as np

from stream_monitor.reference.season import WEEK_MS
from stream_monitor.statistics.fixed_point import Ints

_ONE_IN: Final = 100
MIN_SPAN_MS: Final = 10_000
"""A span that tells a rate: a job that scores a night's rows logs them within moments, and at that
speed a week would have billions."""


def estimate_events_per_week(times_ms: Ints) -> float | None:
    """Events a week, from the event times (n,) of a reference, in any order.

    ``None`` where they span less than ``MIN_SPAN_MS``.  The first and the last hundredth of them
    are left out: one clock that is years off would make all others a trickle.  An event that opens
    the span is not counted, so that what comes in batches, or evenly, has its rate exactly.

    >>> estimate_events_per_week(np.arange(10_080) * 60_000), estimate_events_per_week(np.arange(5_000))
    (10080.0, None)
    """
    n = len(times_ms)
    if not n:
        return None
    ordered = np.sort(times_ms)
    cut = n // _ONE_IN
    first, last = int(ordered[cut]), int(ordered[n - 1 - cut])
    if last - first < MIN_SPAN_MS:
        return None
    n_until = np.searchsorted(ordered, (first, last), side="right")
    return int(n_until[1] - n_until[0]) * WEEK_MS / (last - first)
