"""Estimates the events per week of event time from a reference."""

from __future__ import annotations

from typing import Final

import numpy as np

from stream_monitor.reference.season import WEEK_MS
from stream_monitor.statistics.fixed_point import Ints

_ONE_IN: Final = 100
MIN_SPAN_MS: Final = 10_000
"""The shortest span that gives a rate: a batch job logs a night's rows within moments, and its rate
would be billions a week."""


def estimate_events_per_week(times_ms: Ints) -> float | None:
    """Events per week, from the event times (n,) of a reference, in any order.

    ``None`` where they span less than ``MIN_SPAN_MS``.  The first and the last 1 % are left out, so
    that one clock that is years off does not change the rate.  The first event of the span is not
    counted, so that evenly spaced events, and batches, give their exact rate.

    >>> estimate_events_per_week(np.arange(10_080) * 60_000)
    10080.0
    >>> estimate_events_per_week(np.arange(5_000)) is None
    True
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
