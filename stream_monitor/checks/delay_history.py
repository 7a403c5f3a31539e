"""The label delay: the mean logarithm of delays over 24 hours of labels, evaluated each hour.

A nightly job labels yesterday's predictions, the oldest after a day and the newest after an hour:
only whole days are comparable.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from stream_monitor.checks.traffic_bucket import TrafficBucket
from stream_monitor.checks.traffic_spec import DAY_MS, TrafficSpec
from stream_monitor.statistics.counts import Extremes

_SCALE: Final = 1 << 10
_CELLS: Final = 24
_LEAST_LABELS: Final = 30
_SPAN_MS: Final = 28 * DAY_MS
_MEMORY_CELLS: Final = 14 * _CELLS
_LEAST_SD: Final = 0.05  # doublings
_LEAST_RISE: Final = 1.0


def log_delay(delay_ms: int) -> int:
    """Return the base-2 logarithm of a delay in fixed point, linear between powers of 2.

    It is exact, so that sums are the same on every machine.

    >>> log_delay(0), log_delay(1), log_delay(3), log_delay(5)
    (0, 1024, 2048, 2560)
    """
    mantissa, exponent = math.frexp(delay_ms + 1)
    return round((exponent - 2 + 2 * mantissa) * _SCALE)


def delay_of(log: float) -> float:
    """Return the delay (ms) of a mean logarithm.

    >>> delay_of(log_delay(5)), delay_of(log_delay(3))
    (5.0, 3.0)
    """
    exponent = math.floor(log / _SCALE)
    return 2.0**exponent * (1 + log / _SCALE - exponent) - 1


class DelayComparison(NamedTuple):
    """The label delay of the last 24 hours, compared with the usual delay."""

    late: bool
    over: bool
    usual_ms: float
    now_ms: float
    deviance: float
    n_labels: int
    onset: tuple[int, int]


class DelayCell(msgspec.Struct, array_like=True):
    """The labels of one cell: their number, the sum of their log delays, and the cell's start."""

    delays: int
    n: int
    offset: int
    time_ms: int


class DelayState(msgspec.Struct, array_like=True):
    """The latest cells, and the usual delay.

    ``mean`` and ``variance`` are of ``n`` windows.  ``waiting`` are mean and deviance of the
    windows of the last day, which are learned a day later.  ``skipped`` counts the first windows,
    which are not used.
    """

    extremes: Extremes
    cell: int = -1
    cells: list[DelayCell] = []
    n: int = 0
    mean: float = 0.0
    variance: float = 0.0
    waiting: list[tuple[float, float]] = []
    buckets: int = 0
    labels: int = 0
    skipped: int = 0


class DelayHistory:
    """The history of the label delays of one model."""

    def __init__(self, spec: TrafficSpec, state: DelayState | None = None) -> None:
        """Start empty, or continue from a state."""
        self._spec = spec
        self.state = state or DelayState(Extremes(_SPAN_MS // spec.bucket_ms))

    @property
    def per_bucket(self) -> float:
        """The number of labels per bucket."""
        return self.state.labels / max(1, self.state.buckets)

    def take(self, bucket: TrafficBucket, chance: float, *, learn: bool) -> DelayComparison | None:
        """Add a bucket; if it starts a new hour, compare the last 24 hours of labels."""
        self.state.buckets += 1
        self.state.labels += bucket.n_delays
        cell, seen = bucket.number // self._spec.cell_buckets, None
        if cell != self.state.cell:
            rows = self.state.cells[-_CELLS:]
            n = sum(row.n for row in rows)
            if n >= _LEAST_LABELS:
                seen = self._compare(bucket.number, rows, n, chance, learn=learn)
            self.state.cell = cell
            self.state.cells = [*rows, DelayCell(0, 0, bucket.at.offset, bucket.at.time_ms)]
        self.state.cells[-1].delays += bucket.delays
        self.state.cells[-1].n += bucket.n_delays
        return seen

    def _compare(
        self, bucket: int, rows: Sequence[DelayCell], n_labels: int, chance: float, *, learn: bool
    ) -> DelayComparison | None:
        mean = sum(row.delays for row in rows) / n_labels
        if self.state.skipped < _CELLS:
            self.state.skipped += 1  # the first day of labels is of the newest predictions only
            return None
        known_ms = self.state.n * self._spec.cell_ms
        rise = (mean - self.state.mean) / _SCALE
        windows = max(1.0, self.state.n / _CELLS)
        sd = math.sqrt(self.state.variance) * (1 + 2 * math.sqrt(2 / windows))
        deviance = (max(0.0, rise) / max(sd, _LEAST_SD)) ** 2 / 2
        late = (
            known_ms >= self._spec.label_baseline_ms
            and rise >= _LEAST_RISE
            and deviance > self.state.extremes.limit(chance)
        )
        usual = self.state.mean
        if late or not learn:
            self.state.waiting.clear()
        else:
            counts = 2 * known_ms >= self._spec.label_baseline_ms
            self.state.waiting.append((mean, deviance if counts else 0.0))
            if len(self.state.waiting) > _CELLS:
                self._learn(bucket, *self.state.waiting.pop(0))
        newest = [row for row in rows if row.n]
        late_from = usual + _SCALE * _LEAST_RISE
        first = next((row for row in newest if row.delays / row.n >= late_from), newest[-1])
        return DelayComparison(
            late,
            rise < _LEAST_RISE / 2,
            max(1.0, delay_of(usual)),
            max(1.0, delay_of(mean)),
            deviance,
            n_labels,
            (first.offset, first.time_ms),
        )

    def _learn(self, bucket: int, mean: float, deviance: float) -> None:
        """Learn a window without an episode, a day later: a rise must not become usual first."""
        self.state.extremes.learn(bucket, deviance, 1 / _CELLS)
        self.state.n += 1
        weight = 1 / min(self.state.n, _MEMORY_CELLS)
        off = mean - self.state.mean
        self.state.mean += weight * off
        grown = self.state.variance + weight * (off / _SCALE) ** 2
        self.state.variance = (1 - weight) * grown if self.state.n > 1 else 0.0
