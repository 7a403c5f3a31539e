"""Where in the log the n-th event of a series lay: sparse marks, to turn onsets into offsets."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import Any, Final

from stream_monitor.ingest.batch import Ints

_EVERY: Final = 64
_MAX_MARKS: Final = 512  # marks: an onset is traced back over 32,768 events, no further


class OffsetIndex:
    """Marks at every 64th event of one series: its count, offset and event time."""

    def __init__(self) -> None:
        self.n_events = 0
        self._start = 0
        self._counts: list[int] = []
        self._offsets: list[int] = []
        self._times_ms: list[int] = []

    def observe(self, offsets: Ints, times_ms: Ints) -> None:
        """Take n consecutive events; positions given to `at` refer to these."""
        for marks in (self._counts, self._offsets, self._times_ms):
            del marks[: -(_MAX_MARKS + 1)]
        self._start = self.n_events
        first = -self.n_events % _EVERY
        for i in range(first, len(offsets), _EVERY):
            self._counts.append(self.n_events + i)
            self._offsets.append(int(offsets[i]))
            self._times_ms.append(int(times_ms[i]))
        self.n_events += len(offsets)

    def at(self, position: int, events_back: int) -> tuple[int, int]:
        """Offset and event time of the last mark at or before that event."""
        here = self._start + position
        wanted = max(here - events_back, (here // _EVERY - _MAX_MARKS + 1) * _EVERY, 0)
        i = max(0, bisect.bisect_right(self._counts, wanted) - 1)
        return self._offsets[i], self._times_ms[i]

    def copy(self) -> OffsetIndex:
        """A trail with the same marks, to go its own way."""
        other = OffsetIndex()
        other.restore(self.snapshot())
        return other

    def snapshot(self) -> list[Any]:
        """The state as plain data."""
        tail = slice(-(_MAX_MARKS + 1), None)
        return [self.n_events, self._counts[tail], self._offsets[tail], self._times_ms[tail]]

    def restore(self, data: Sequence[Any]) -> None:
        """Restore from `snapshot`."""
        n_events, counts, offsets, times_ms = data
        if not len(counts) == len(offsets) == len(times_ms) or n_events < 0:
            raise ValueError("the marks of a trail do not fit together")
        self.n_events = n_events
        self._counts, self._offsets, self._times_ms = list(counts), list(offsets), list(times_ms)
