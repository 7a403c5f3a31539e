"""How long labels take: the mean logarithm of their delays over 24 hours of labels, hour by hour.

A nightly job labels yesterday's predictions, the oldest after a day and the newest after an hour:
only a whole day of them is comparable with another one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from stream_monitor.checks.traffic_bucket import TrafficBucket
from stream_monitor.checks.traffic_spec import DAY_MS, TrafficSpec
from stream_monitor.state_parts import as_type
from stream_monitor.statistics.counts import Extremes

_SCALE: Final = 1 << 10
_CELLS: Final = 24
_LEAST_LABELS: Final = 30
_SPAN_MS: Final = 28 * DAY_MS
_MEMORY_CELLS: Final = 14 * _CELLS
_LEAST_SD: Final = 0.05  # doublings
_LEAST_RISE: Final = 1.0


def log_delay(delay_ms: int) -> int:
    """The logarithm of a delay to the base 2, in fixed point; straight between powers of 2.

    Exact whatever the machine: a sum of these is the same everywhere.

    >>> log_delay(0), log_delay(1), log_delay(3), log_delay(5)
    (0, 1024, 2048, 2560)
    """
    mantissa, exponent = math.frexp(delay_ms + 1)
    return round((exponent - 2 + 2 * mantissa) * _SCALE)


def delay_of(log: float) -> float:
    """The delay in ms of a mean logarithm.

    >>> delay_of(log_delay(5)), delay_of(log_delay(3))
    (5.0, 3.0)
    """
    exponent = math.floor(log / _SCALE)
    return 2.0**exponent * (1 + log / _SCALE - exponent) - 1


class DelayComparison(NamedTuple):
    """The labels of the last 24 hours, compared with what was usual."""

    late: bool
    over: bool
    usual_ms: float
    now_ms: float
    deviance: float
    n_labels: int
    onset: tuple[int, int]


class DelayHistory:
    """The delays of one model's labels."""

    def __init__(self, spec: TrafficSpec) -> None:
        self._spec = spec
        self._cell = -1
        self._cells: list[list[int]] = []
        self._n, self._mean, self._variance = 0, 0.0, 0.0
        self._waiting: list[list[float]] = []
        self._extremes = Extremes(_SPAN_MS // spec.bucket_ms)
        self._buckets, self._labels, self._skipped = 0, 0, 0

    @property
    def per_bucket(self) -> float:
        """Delays a slot."""
        return self._labels / max(1, self._buckets)

    def take(self, bucket: TrafficBucket, chance: float, *, learn: bool) -> DelayComparison | None:
        """A slot is over; the last 24 hours where an hour is over with it and labels are enough."""
        self._buckets += 1
        self._labels += bucket.n_delays
        cell, seen = bucket.number // self._spec.cell_buckets, None
        if cell != self._cell:
            rows = self._cells[-_CELLS:]
            n = sum(row[1] for row in rows)
            if n >= _LEAST_LABELS:
                seen = self._judge(bucket.number, rows, n, chance, learn=learn)
            self._cell = cell
            self._cells = [*rows, [0, 0, *bucket.at]]
        self._cells[-1][0] += bucket.delays
        self._cells[-1][1] += bucket.n_delays
        return seen

    def _judge(
        self,
        bucket: int,
        rows: Sequence[Sequence[int]],
        n_labels: int,
        chance: float,
        *,
        learn: bool,
    ) -> DelayComparison | None:
        mean = sum(row[0] for row in rows) / n_labels
        if self._skipped < _CELLS:
            self._skipped += 1  # the first day of labels is of the newest predictions only
            return None
        known_ms = self._n * self._spec.cell_ms
        rise = (mean - self._mean) / _SCALE
        windows = max(1.0, self._n / _CELLS)
        sd = math.sqrt(self._variance) * (1 + 2 * math.sqrt(2 / windows))
        deviance = (max(0.0, rise) / max(sd, _LEAST_SD)) ** 2 / 2
        late = (
            known_ms >= self._spec.label_baseline_ms
            and rise >= _LEAST_RISE
            and deviance > self._extremes.limit(chance)
        )
        usual = self._mean
        if late or not learn:
            self._waiting.clear()
        else:
            self._waiting.append(
                [mean, deviance if 2 * known_ms >= self._spec.label_baseline_ms else 0.0]
            )
            if len(self._waiting) > _CELLS:
                self._learn(bucket, *self._waiting.pop(0))
        newest = [row for row in rows if row[1]]
        first = next(
            (row for row in newest if row[0] / row[1] >= usual + _SCALE * _LEAST_RISE), newest[-1]
        )
        return DelayComparison(
            late,
            rise < _LEAST_RISE / 2,
            max(1.0, delay_of(usual)),
            max(1.0, delay_of(mean)),
            deviance,
            n_labels,
            (first[2], first[3]),
        )

    def _learn(self, bucket: int, mean: float, deviance: float) -> None:
        """A day that nothing was told of, a day later: a rise is not usual before it is one."""
        self._extremes.learn(bucket, deviance, 1 / _CELLS)
        self._n += 1
        weight = 1 / min(self._n, _MEMORY_CELLS)
        off = mean - self._mean
        self._mean += weight * off
        grown = self._variance + weight * (off / _SCALE) ** 2
        self._variance = (1 - weight) * grown if self._n > 1 else 0.0

    def snapshot(self) -> list[Any]:
        """The state as plain data."""
        return [
            self._cell,
            [list(row) for row in self._cells],
            self._n,
            self._mean,
            self._variance,
            self._extremes,
            [list(row) for row in self._waiting],
            self._buckets,
            self._labels,
            self._skipped,
        ]

    def restore(self, data: Sequence[Any]) -> None:
        """Restore from `snapshot`.  Raises ValueError where it does not fit."""
        self._cell, cells, self._n, self._mean, self._variance, *more = data
        extremes, waiting, self._buckets, self._labels, self._skipped = more
        if any(len(row) != 4 for row in cells):
            raise ValueError("labels: delays of another form")
        self._cells = [list(row) for row in cells]
        self._extremes = as_type(extremes, Extremes)
        self._waiting = [list(row) for row in waiting]
