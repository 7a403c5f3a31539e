"""The offset index: sparse marks from the n-th event of a series to its offset and event time."""

from __future__ import annotations

import bisect
from typing import Final

import msgspec

from stream_monitor.ingest.batch import Ints

_EVERY: Final = 64
_MAX_MARKS: Final = 512  # marks: an onset is traced back over at most 32,768 events


class OffsetMarks(msgspec.Struct, frozen=True, array_like=True):
    """The number of events, and the marks: numbers of events, offsets, event times."""

    n_events: int
    counts: list[int]
    offsets: list[int]
    times_ms: list[int]

    def __post_init__(self) -> None:
        if not len(self.counts) == len(self.offsets) == len(self.times_ms) or self.n_events < 0:
            raise ValueError("the marks of an offset index do not fit together")


class OffsetIndex:
    """A mark at every 64th event of one signal: event number, offset and event time."""

    def __init__(self, marks: OffsetMarks | None = None) -> None:
        """Start empty, or continue from `snapshot`."""
        marks = marks or OffsetMarks(0, [], [], [])
        self.n_events, self._start = marks.n_events, 0
        self._counts, self._offsets = list(marks.counts), list(marks.offsets)
        self._times_ms = list(marks.times_ms)

    def observe(self, offsets: Ints, times_ms: Ints) -> None:
        """Apply n consecutive events; positions given to `at` refer to these."""
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
        """Return offset and event time of the last mark at or before an event."""
        here = self._start + position
        wanted = max(here - events_back, (here // _EVERY - _MAX_MARKS + 1) * _EVERY, 0)
        i = max(0, bisect.bisect_right(self._counts, wanted) - 1)
        return self._offsets[i], self._times_ms[i]

    def snapshot(self) -> OffsetMarks:
        """The marks; they are not changed by later events."""
        tail = slice(-(_MAX_MARKS + 1), None)
        return OffsetMarks(
            self.n_events, self._counts[tail], self._offsets[tail], self._times_ms[tail]
        )
