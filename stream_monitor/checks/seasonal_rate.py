"""The seasonal rate: the usual number of events at each hour of the week, learned from the traffic.

An hour of the week is known once it was seen.  Before, the same hour of other days is used, and
before a day has passed the mean of all.  Rates are per bucket.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import msgspec

from stream_monitor.checks.traffic_spec import TrafficSpec

SCALE: Final = 1 << 10
"""Expected counts are summed as integers, in fixed point."""
_LEAST_WEIGHT: Final = 0.3  # of the latest week


class ExpectedCount(NamedTuple):
    """Events expected in a bucket, in fixed point.

    ``low`` and ``high`` are those of this hour and its neighbours, so that neither a slope nor
    daylight saving time is a change.
    """

    low: int
    middle: int
    high: int


def from_fixed_point(expected: int) -> float:
    """Events, from fixed point."""
    return expected / SCALE


class SeasonalRateState(msgspec.Struct, array_like=True):
    """The learned rate: ``total`` events in ``buckets``, and the counts by cell of the period.

    ``levels`` are mean counts per bucket, ``turns`` how often a cell was seen, and ``closed``
    whether it had no events the last time.  ``cell`` is the number of the present cell, with its
    events, its buckets and its silent ones.
    """

    levels: list[float]
    turns: list[int]
    closed: list[bool]
    buckets: int = 0
    total: int = 0
    cell: int = -1
    cell_total: int = 0
    cell_buckets: int = 0
    silent_buckets: int = 0


class SeasonalRate:
    """Mean counts of a bucket by cell of the period."""

    def __init__(self, spec: TrafficSpec, state: SeasonalRateState | None = None) -> None:
        """Start empty, or continue from a state.  Raises ValueError where the period is another."""
        self._spec = spec
        n = spec.n_cells
        self.state = state or SeasonalRateState([0.0] * n, [0] * n, [False] * n)
        sizes = {len(self.state.levels), len(self.state.turns), len(self.state.closed)}
        if sizes != {n} or self.state.buckets < 0:
            raise ValueError("volume: the stored rates have another period")
        self._near_of, self._near = -1, [0.0] * 3  # a cell, its level and those of its neighbours

    @property
    def complete(self) -> bool:
        """Whether a whole period was seen."""
        return all(self.state.turns)

    @property
    def buckets(self) -> int:
        """The number of buckets that were learned."""
        return self.state.buckets

    def per_bucket(self) -> float:
        """The mean count of a bucket."""
        return self.state.total / self.state.buckets if self.state.buckets else 0.0

    def expected(self, bucket: int) -> ExpectedCount:
        """The usual count of a bucket, interpolated between the middles of the hours."""
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
        if self.state.turns[cell]:
            return self.state.levels[cell]
        same_hour = range(cell % self._spec.day_cells, self._spec.n_cells, self._spec.day_cells)
        seen = [self.state.levels[c] for c in same_hour if self.state.turns[c]]
        return math.fsum(seen) / len(seen) if seen else self.per_bucket()

    def learn(self, bucket: int, count: int) -> None:
        """Learn the count of a bucket without an open episode."""
        self.enter(bucket)
        self.state.cell_total += count
        self.state.cell_buckets += 1
        self.state.total += count
        self.state.buckets += 1

    def enter(self, bucket: int) -> None:
        """Advance to a bucket; learn the cell that ended if at least half of it was observed."""
        cell = bucket // self._spec.cell_buckets
        if cell == self.state.cell:
            return
        i = self.state.cell % self._spec.n_cells
        if 2 * self.state.silent_buckets >= self._spec.cell_buckets:
            if self.state.closed[i] or not self.state.turns[i]:
                self.state.levels[i] = 0.0
                self.state.turns[i] += 1
            self.state.closed[i] = True
        elif 2 * self.state.cell_buckets >= self._spec.cell_buckets:
            self.state.closed[i] = False
            mean = self.state.cell_total / self.state.cell_buckets
            weight = max(1 / (self.state.turns[i] + 1), _LEAST_WEIGHT)
            self.state.levels[i] += weight * (mean - self.state.levels[i])
            self.state.turns[i] += 1
        self.state.cell = cell
        self.state.cell_total = self.state.cell_buckets = self.state.silent_buckets = 0
        self._near_of = -1

    def drop_cell(self) -> None:
        """Discard the counts of the current cell, because they are not usual."""
        self.state.cell_total = self.state.cell_buckets = 0

    def learn_silence(self, bucket: int) -> None:
        """Learn a bucket in a reported silence: an hour without events in two turns is closed."""
        self.enter(bucket)
        self.state.silent_buckets += 1
