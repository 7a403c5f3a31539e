"""In which order, and when, the demo's events and labels are written."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Int64s = NDArray[np.int64]


class Timeline(NamedTuple):
    """Everything that happens, by event time: (n,) each.

    ``rows`` is the prediction's row; ``is_label`` tells its label from the prediction itself.
    """

    times_ms: Int64s
    rows: Int64s
    is_label: NDArray[np.bool_]

    def due(self, start: int, now_ms: float) -> int:
        """Up to where things have happened at ``now_ms``, from position ``start`` on."""
        return max(start, int(np.searchsorted(self.times_ms, now_ms, side="right")))


def interleave(event_times_ms: Int64s, label_delay_ms: int) -> Timeline:
    """Events, which are in order of time, and their labels ``label_delay_ms`` later.

    At the same moment labels come first; they belong to earlier events.

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
    """Event time as it runs in the demo: the whole span in ``seconds``; 0 is all at once."""

    first_ms: int
    last_ms: int
    seconds: float

    def event_time_ms(self, elapsed_s: float) -> float:
        """What time it is in the demo after ``elapsed_s``.

        >>> TimeScale(0, 1000, 10.0).event_time_ms(2.5)
        250.0
        """
        if elapsed_s >= self.seconds:
            return float(self.last_ms)
        return self.first_ms + (self.last_ms - self.first_ms) * elapsed_s / self.seconds
