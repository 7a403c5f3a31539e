"""The usual rate at this hour of the week, learnt from the stream itself.

A season that was seen once is known; before that the same hour of other days stands for it, and
before a day has passed the mean of all.  Rates are per slot.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from stream_monitor.checks.traffic_spec import TrafficSpec

SCALE: Final = 1 << 10
"""Expected counts are summed as integers, in fixed point."""
_LEAST_WEIGHT: Final = 0.3  # of the latest week


class ExpectedCount(NamedTuple):
    """Events expected in a slot, in fixed point.

    The least and the most are of this hour and its neighbours, so that neither a ramp nor a clock
    that is put forward is a change.
    """

    low: int
    middle: int
    high: int


def from_fixed_point(expected: int) -> float:
    """Events, from fixed point."""
    return expected / SCALE


class SeasonalRate:
    """Mean counts of a slot by cell of the period."""

    def __init__(self, spec: TrafficSpec) -> None:
        self._spec = spec
        self.buckets = 0
        self._total = 0
        self._levels = [0.0] * spec.n_cells
        self._turns = [0] * spec.n_cells
        self._near_of, self._near = -1, [0.0] * 3  # the last cell that was asked for
        self._cell = -1
        self._cell_total = 0
        self._cell_buckets = self._silent_buckets = 0
        self._closed = [False] * spec.n_cells  # nothing came the last time

    @property
    def complete(self) -> bool:
        """Whether a whole period was seen."""
        return all(self._turns)

    def per_bucket(self) -> float:
        """The mean of all."""
        return self._total / self.buckets if self.buckets else 0.0

    def expected(self, bucket: int) -> ExpectedCount:
        """What is usual in a slot: between the middles of the hours it changes evenly."""
        cells, of_cell = self._spec.n_cells, self._spec.cell_buckets
        number, within = divmod(bucket, of_cell)
        if self._near_of != number or not self.complete:
            self._near = [self._level((number + k) % cells) for k in (-1, 0, 1)]
            self._near_of = number
        before, here, after = self._near
        away = (within + 0.5) / of_cell - 0.5
        middle = here + away * (after - here) if away > 0 else here + away * (here - before)
        low, high = min(before, here, after), max(before, here, after)
        return ExpectedCount(*(round(x * SCALE) for x in (low, middle, high)))

    def _level(self, cell: int) -> float:
        if self._turns[cell]:
            return self._levels[cell]
        same_hour = range(cell % self._spec.day_cells, self._spec.n_cells, self._spec.day_cells)
        seen = [self._levels[c] for c in same_hour if self._turns[c]]
        return math.fsum(seen) / len(seen) if seen else self.per_bucket()

    def learn(self, bucket: int, count: int) -> None:
        """A slot in which nothing was wrong."""
        self.enter(bucket)
        self._cell_total += count
        self._cell_buckets += 1
        self._total += count
        self.buckets += 1

    def enter(self, bucket: int) -> None:
        """Time has come to a slot: a cell that is over counts, if half of it was seen."""
        cell = bucket // self._spec.cell_buckets
        if cell == self._cell:
            return
        i = self._cell % self._spec.n_cells
        if 2 * self._silent_buckets >= self._spec.cell_buckets:
            if self._closed[i] or not self._turns[i]:
                self._levels[i] = 0.0
                self._turns[i] += 1
            self._closed[i] = True
        elif 2 * self._cell_buckets >= self._spec.cell_buckets:
            self._closed[i] = False
            mean = self._cell_total / self._cell_buckets
            weight = max(1 / (self._turns[i] + 1), _LEAST_WEIGHT)
            self._levels[i] += weight * (mean - self._levels[i])
            self._turns[i] += 1
        self._cell = cell
        self._cell_total = self._cell_buckets = self._silent_buckets = 0
        self._near_of = -1

    def drop_cell(self) -> None:
        """What came in this cell so far is not usual."""
        self._cell_total = self._cell_buckets = 0

    def learn_silence(self, bucket: int) -> None:
        """A slot without an event that was told of: an hour with none in two turns is closed."""
        self.enter(bucket)
        self._silent_buckets += 1

    def snapshot(self) -> list[Any]:
        """The state as plain data."""
        return [
            self.buckets,
            self._total,
            list(self._levels),
            list(self._turns),
            self._cell,
            self._cell_total,
            self._cell_buckets,
            self._silent_buckets,
            list(self._closed),
        ]

    def restore(self, data: Sequence[Any]) -> None:
        """Restore from `snapshot`.  Raises ValueError where the period is another."""
        buckets, total, levels, turns, cell, cell_total, cell_buckets, silent_buckets, closed = data
        if not len(levels) == len(turns) == len(closed) == self._spec.n_cells or buckets < 0:
            raise ValueError("volume: stored with another period")
        self.buckets, self._total = buckets, total
        self._levels, self._turns = list(levels), list(turns)
        self._cell, self._cell_total, self._cell_buckets = cell, cell_total, cell_buckets
        self._silent_buckets, self._closed = silent_buckets, list(closed)
