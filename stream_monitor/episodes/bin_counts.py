"""Counts of consecutive events by distance bin: the evidence of an episode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from stream_monitor.ingest.batch import Ints
from stream_monitor.reference.season import BinCalendar


class BinCounts:
    """How many events lie in each of ``n_bins``, and in each slot of a calendar if there is one.

    ``total`` is the sum of their fixed-point values, ``expected_total`` that of the losses to
    expect of them.
    """

    __slots__ = ("_calendar", "counts", "expected_total", "n", "slots", "total")

    def __init__(self, n_bins: int, calendar: BinCalendar | None = None) -> None:
        self._calendar = calendar
        self.counts = np.zeros(n_bins, dtype=np.int64)
        self.slots = np.zeros(0 if calendar is None else calendar.n_slots, dtype=np.int64)
        self.n = self.total = self.expected_total = 0

    def clear(self) -> None:
        """Remove all counts."""
        self.counts[:] = 0
        self.slots[:] = 0
        self.n = self.total = self.expected_total = 0

    def count(self, codes: Ints, times_ms: Ints, values: Ints | None, losses: Ints | None) -> None:
        """Add events by their bins (n,), with their values and expected losses where known."""
        if not len(codes):
            return
        self.counts += np.bincount(codes, minlength=len(self.counts))
        self.n += len(codes)
        if self._calendar is not None:
            slots = self._calendar.slots_of(times_ms)
            self.slots += np.bincount(slots, minlength=len(self.slots))
        if values is not None:
            self.total += int(values.sum())
        if losses is not None:
            self.expected_total += int(losses.sum())

    def add(self, other: BinCounts) -> None:
        """Add the counts of another one with the same bins."""
        self.counts += other.counts
        self.slots += other.slots
        self.n += other.n
        self.total += other.total
        self.expected_total += other.expected_total

    def snapshot(self) -> list[Any]:
        """All of it as plain data; bins and slots only where there are events."""
        if not self.n:
            return []
        return [self.n, self.total, self.expected_total, self.counts.tolist(), self.slots.tolist()]

    def restore(self, data: Sequence[Any]) -> None:
        """Continue from `snapshot`.  Raises ValueError where it does not fit the bins or slots."""
        self.clear()
        if not data:
            return
        n, total, expected_total, counts, slots = data
        if len(counts) != len(self.counts) or sum(counts) != n or min(counts) < 0:
            raise ValueError("episode counts do not fit the reference bins")
        # Stored before there were seasons: without slots.
        if slots and (len(slots) != len(self.slots) or sum(slots) != n or min(slots) < 0):
            raise ValueError("episode counts do not fit the calendar of the reference")
        self.counts[:] = counts
        self.slots[:] = slots or 0
        self.n, self.total, self.expected_total = n, total, expected_total
