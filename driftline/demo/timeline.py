"""The order and the times of the demo's events and labels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Int64s = NDArray[np.int64]


class Timeline(NamedTuple):
    """Predictions and labels in the order of their event times; each array is (n,).

    ``rows`` is the row of the flight; ``is_label`` is true for a label, false for a prediction.
    """

    times_ms: Int64s
    rows: Int64s
    is_label: NDArray[np.bool_]

    def due(self, start: int, now_ms: float) -> int:
        """The position after the last entry up to ``now_ms``, at least ``start``."""
        return max(start, int(np.searchsorted(self.times_ms, now_ms, side="right")))


def interleave(event_times_ms: Int64s, label_delay_ms: int) -> Timeline:
    """Merge sorted events with their labels, which follow ``label_delay_ms`` later.

    At equal times the labels come first, because they belong to earlier events.

    >>> line = interleave(np.array([0, 5, 10]), 7)
    >>> [(int(r), bool(k)) for r, k in zip(line.rows, line.is_label)]
    [(0, False), (1, False), (0, True), (2, False), (1, True), (2, True)]
    """
    rows = np.arange(len(event_times_ms), dtype=np.int64)
    times = np.concatenate([event_times_ms + label_delay_ms, event_times_ms])
    order = np.argsort(times, kind="stable")
    return Timeline(
        times_ms=times[order], rows=np.concatenate([rows, rows])[order], is_label=order < len(rows)
    )


class TimeScale(NamedTuple):
    """Event time during the demo: the whole period in ``seconds``; 0 is all at once."""

    first_ms: int
    last_ms: int
    seconds: float

    def event_time_ms(self, elapsed_s: float) -> float:
        """The event time ``elapsed_s`` seconds after the start.

        >>> TimeScale(0, 1000, 10.0).event_time_ms(2.5)
        250.0
        """
        if elapsed_s >= self.seconds:
            return float(self.last_ms)
        return self.first_ms + (self.last_ms - self.first_ms) * elapsed_s / self.seconds
