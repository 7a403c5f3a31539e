"""Counts of consecutive events by distance bin: the evidence of an episode."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import msgspec
import numpy as np

from stream_monitor.ingest.batch import Ints
from stream_monitor.reference.season import BinCalendar
from stream_monitor.statistics.fixed_point import Floats


@lru_cache(maxsize=1024)
def no_events(n: int) -> Ints:
    """Zeros (n,), which all counts without events share: do not write to them."""
    counts = np.zeros(n, dtype=np.int64)
    counts.flags.writeable = False
    return counts


class BinCounts(msgspec.Struct, array_like=True):
    """``n`` events: how many lie in each bin, and in each slot of a calendar if there is one.

    ``total`` is the sum of their fixed-point values, ``expected_total`` that of the losses to
    expect of them.
    """

    counts: Ints
    slots: Ints
    n: int = 0
    total: int = 0
    expected_total: int = 0

    @classmethod
    def empty(cls, n_bins: int, n_slots: int) -> BinCounts:
        """Counts of no events."""
        return cls(no_events(n_bins), no_events(n_slots))

    def clear(self) -> None:
        """Remove all counts."""
        self.counts, self.slots = no_events(len(self.counts)), no_events(len(self.slots))
        self.n = self.total = self.expected_total = 0

    def count(
        self,
        codes: Ints,
        times_ms: Ints,
        values: Ints | None,
        losses: Ints | None,
        calendar: BinCalendar | None,
    ) -> None:
        """Add events by their bins (n,), with their values and expected losses where known."""
        if not len(codes):
            return
        self.counts = self.counts + np.bincount(codes, minlength=len(self.counts))
        self.n += len(codes)
        if calendar is not None:
            slots = np.bincount(calendar.slots_of(times_ms), minlength=len(self.slots))
            self.slots = self.slots + slots
        if values is not None:
            self.total += int(values.sum())
        if losses is not None:
            self.expected_total += int(losses.sum())

    def add(self, other: BinCounts) -> None:
        """Add the counts of another one with the same bins."""
        self.counts = self.counts + other.counts
        self.slots = self.slots + other.slots
        self.n += other.n
        self.total += other.total
        self.expected_total += other.expected_total

    def check_fit(self, n_bins: int, n_slots: int) -> None:
        """Raise ValueError where stored counts do not fit the bins or slots of a reference."""
        for counts, size in ((self.counts, n_bins), (self.slots, n_slots)):
            fits = len(counts) == size and (not size or counts.min() >= 0)
            if not fits or (size and int(counts.sum()) != self.n):
                raise ValueError("episode counts do not fit the reference")


def floats(counts: Sequence[int] | Ints) -> Floats:
    """Counts of cells, (k,), as floating-point numbers."""
    return np.asarray(counts, dtype=np.float64)


def mean_cell(cells: Floats) -> float:
    """The mean index of the events in cells (k,)."""
    return float(cells @ np.arange(len(cells)) / max(1.0, float(cells.sum())))
