"""Is it still as much as usual: the last 20 slots, the last 60, and the last 24 hours.

A window counts as changed where its count is beyond what chance can do (`chance.deviance`), beyond
what was seen, and where each of its quarters deviates the same way, so that one burst is no change;
the quarter that deviates most is left out.  How much counts vary beyond Poisson's is estimated for
each length by itself, from how far they lay from what was foretold: whatever makes neighbouring
slots alike, or days differ, is in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from stream_monitor.checks.seasonal_rate import ExpectedCount, from_fixed_point
from stream_monitor.checks.traffic_spec import DAY_MS, TrafficSpec
from stream_monitor.detectors.detection import Direction
from stream_monitor.state_parts import as_type
from stream_monitor.statistics.counts import Extremes, deviance

WINDOWS: Final = (20, 60)  # slots
_DAY_CELLS: Final = 24
_MEMORY_MS: Final = 14 * DAY_MS
_PRIOR: Final = 0.02  # 14 % of the mean, as much as four windows weigh
_PRIOR_WINDOWS: Final = 4.0
_LEAST_HIGH: Final = 3.0  # what may come where nothing was ever seen
_PLAUSIBLE: Final = 3.0  # deviance, 1 in 20: a change is over

Row = list[int]
"""Count, expected (low, middle, high), offset and event time of its first record."""


class VolumeChange(NamedTuple):
    """A window that changed: its events, what was expected, and where it began."""

    scale: int
    direction: Direction
    deviance: float
    n_events: int
    expected: float
    n_buckets: int
    onset: tuple[int, int]

    @property
    def ratio(self) -> float:
        """How many times the usual, both counted with half an event more."""
        return (self.n_events + 0.5) / (self.expected + 0.5)


class _CountVariation:
    """How much the counts of windows of one length vary.

    What a window shows is learnt when one to two windows more have shown no change: a change that
    fills a window slot by slot must not be usual before it has filled it.
    """

    def __init__(self, spec: TrafficSpec, buckets: int) -> None:
        self.buckets = buckets
        self._block = -1
        self.discard_pending()
        memory = max(1, _MEMORY_MS // spec.bucket_ms)
        self._keep = 0.5 ** (1 / memory)
        self._excess, self._weight, self._n = 0.0, 0.0, 0.0
        self.extremes = Extremes(memory)

    def dispersion(self) -> float:
        """Beyond Poisson's, with a standard error of the estimate."""
        n = self._n / self.buckets
        seen = max(0.0, self._excess / self._weight) if self._weight > 0 else 0.0
        mean = (seen * n + _PRIOR * _PRIOR_WINDOWS) / (n + _PRIOR_WINDOWS)
        return mean * (1 + math.sqrt(2 / (n + _PRIOR_WINDOWS)))

    def discard_pending(self) -> None:
        """What was not learnt yet never will be."""
        self._waiting, self._current = [0.0] * 4, [0.0] * 4

    def learn(self, bucket: int, count: int, expected: float, found: float, n_buckets: int) -> None:
        """A window of which nothing is to be told, and that brings ``n_buckets`` of news."""
        if bucket // self.buckets != self._block:
            self._block = bucket // self.buckets
            self._settle(bucket, *self._waiting)
            self._waiting, self._current = self._current, [0.0] * 4
        excess, weight, n, largest = self._current
        off = count - expected
        self._current = [
            excess + n_buckets * (off * off / max(expected, 1.0) - 1.0),
            weight + n_buckets * expected,
            n + n_buckets,
            max(largest, found),
        ]

    def _settle(self, bucket: int, excess: float, weight: float, n: float, largest: float) -> None:
        if n:
            keep = self._keep**n
            self._excess = keep * self._excess + excess
            self._weight = keep * self._weight + weight
            self._n = keep * self._n + n
            self.extremes.learn(bucket, largest, n / self.buckets)

    def snapshot(self) -> list[Any]:
        return [
            self._excess,
            self._weight,
            self._n,
            self.extremes,
            self._block,
            list(self._waiting),
            list(self._current),
        ]

    def restore(self, data: Sequence[Any]) -> None:
        self._excess, self._weight, self._n, extremes, self._block, *lists = data
        self._waiting, self._current = map(list, lists)
        self.extremes = as_type(extremes, Extremes)


def _sum(rows: Sequence[Row], column: int) -> int:
    return sum([row[column] for row in rows])


def _edge(scale: int, *, down: bool) -> int:
    """The column of what a count must lie beyond; over a whole day, hours do not matter."""
    return 2 if scale == len(WINDOWS) else 1 if down else 3


class VolumeWindows:
    """The last counts, by slot and by cell, and how much windows of them vary."""

    def __init__(self, spec: TrafficSpec) -> None:
        self._spec = spec
        self._buckets: list[Row] = []
        self._cells: list[Row] = []
        self._sums = [[0, 0] for _ in WINDOWS]  # counts and expected of the full windows
        self._cell = -1
        day = _DAY_CELLS * spec.cell_buckets
        self._scales = [_CountVariation(spec, n) for n in (*WINDOWS, day)]

    def clear_recent(self) -> None:
        """The last slots say nothing about the next ones."""
        self._buckets.clear()
        self._sums = [[0, 0] for _ in WINDOWS]

    def take(self, bucket: int, count: int, expected: ExpectedCount, at: tuple[int, int]) -> bool:
        """A slot is over that began at ``at``; gives whether a cell is over with it."""
        for length, sums in zip(WINDOWS, self._sums, strict=True):
            gone = self._buckets[-length] if len(self._buckets) >= length else (0, 0, 0)
            sums[0] += count - gone[0]
            sums[1] += expected.middle - gone[2]
        self._buckets = [*self._buckets[1 - WINDOWS[-1] :], [count, *expected, *at]]
        cell = bucket // self._spec.cell_buckets
        entered = cell != self._cell
        if entered:
            self._cell = cell
            self._cells = [*self._cells[-_DAY_CELLS:], [0, 0, 0, 0, *at]]
        last = self._cells[-1]
        for i, more in enumerate((count, *expected)):
            last[i] += more
        return entered

    def judge(
        self, bucket: int, chances: Sequence[float], *, day: bool, judged: bool
    ) -> VolumeChange | None:
        """The change that the windows which end here show; what shows none is learnt.

        ``chances`` is minus the logarithm of what chance may do, by scale.  ``day``: a cell is
        over, so the last 24 are a window.
        """
        for i, scale in enumerate(self._scales):
            rows = self._window(i, full=True) if i < len(WINDOWS) or day else []
            if not rows:
                continue
            change = self._change(i, rows)
            found = 0.0 if change is None else change.deviance
            if judged and change and found > scale.extremes.limit(chances[i]):
                for each in self._scales:
                    each.discard_pending()
                return change._replace(onset=self._onset(i, rows, change))
            # Windows overlap: each tells a slot, or a cell, of news.
            news = 1 if i < len(WINDOWS) else self._spec.cell_buckets
            total, usual = self._sums[i] if i < len(WINDOWS) else (_sum(rows, 0), _sum(rows, 2))
            scale.learn(bucket, total, from_fixed_point(usual), found, news)
        return None

    def _window(self, i: int, *, full: bool) -> list[Row]:
        if i < len(WINDOWS):
            rows = self._buckets[-WINDOWS[i] :]
            return rows if len(rows) == WINDOWS[i] or not full else []
        rows = self._cells[-1 - _DAY_CELLS : -1]  # the last one has just begun
        return rows if len(rows) == _DAY_CELLS or not full else []

    def _change(self, i: int, rows: Sequence[Row]) -> VolumeChange | None:
        """A deviation that all quarters share, without the one that deviates most."""
        length = len(rows) // 4
        quarters = [rows[start : start + length] for start in range(0, 4 * length, length)]
        down = _sum(quarters[0], 0) < from_fixed_point(_sum(quarters[0], _edge(i, down=True)))
        edge = _edge(i, down=down)
        sums: list[tuple[int, float]] = []
        for quarter in quarters:
            count, usual = _sum(quarter, 0), from_fixed_point(_sum(quarter, edge))
            if (count >= usual) if down else (count <= usual):
                return None
            sums.append((count, usual))
        sums.remove(max(sums, key=lambda pair: abs(pair[0] - pair[1])))
        expected = math.fsum(usual for _, usual in sums) + (0.0 if down else _LEAST_HIGH)
        count = sum(count for count, _ in sums)
        if (count < expected) != down:
            return None
        return VolumeChange(
            i,
            "down" if down else "up",
            deviance(count, expected, self._scales[i].dispersion()),
            _sum(rows, 0),
            from_fixed_point(_sum(rows, 2)),
            len(rows) if i < len(WINDOWS) else len(rows) * self._spec.cell_buckets,
            (rows[0][4], rows[0][5]),
        )

    def _onset(self, i: int, rows: Sequence[Row], change: VolumeChange) -> tuple[int, int]:
        """Where it began: from there on, the deviance of all that came since is largest."""
        if i < len(WINDOWS):
            rows = self._buckets
        down, dispersion = change.direction == "down", self._scales[i].dispersion()
        edge = _edge(i, down=down)
        best, at, count, expected = -1.0, change.onset, 0, 0
        for row in reversed(rows):
            count += row[0]
            expected += row[edge]
            mean = from_fixed_point(expected) + (0.0 if down else _LEAST_HIGH)
            if (count < mean) == down and (d := deviance(count, mean, dispersion)) > best:
                best, at = d, (row[4], row[5])
        return at

    def now(self, scale: int, *, down: bool) -> tuple[VolumeChange, bool]:
        """The window of a change that is open, as it is now; and whether that is over."""
        rows = self._window(scale, full=False) or self._buckets[-1:]
        count = _sum(rows, 0)
        mean = from_fixed_point(_sum(rows, _edge(scale, down=down))) + (
            0.0 if down else _LEAST_HIGH
        )
        off = (count < mean) == down
        found = deviance(count, mean, self._scales[scale].dispersion()) if off else 0.0
        full = bool(self._window(scale, full=True))
        n_buckets = len(rows) * (1 if scale < len(WINDOWS) else self._spec.cell_buckets)
        change = VolumeChange(
            scale,
            "down" if down else "up",
            found,
            count,
            from_fixed_point(sum(row[2] for row in rows)),
            n_buckets,
            (rows[0][4], rows[0][5]),
        )
        return change, full and found <= _PLAUSIBLE

    def snapshot(self) -> list[Any]:
        """The state as plain data."""
        return [
            [list(row) for row in self._buckets],
            [list(row) for row in self._cells],
            self._cell,
            [scale.snapshot() for scale in self._scales],
        ]

    def restore(self, data: Sequence[Any]) -> None:
        """Restore from `snapshot`.  Raises ValueError where it does not fit."""
        buckets, cells, self._cell, scales = data
        if any(len(row) != 6 for row in [*buckets, *cells]) or len(scales) != len(self._scales):
            raise ValueError("volume: windows of another form")
        self._buckets, self._cells = [list(row) for row in buckets], [list(row) for row in cells]
        self._sums = [[_sum(self._buckets[-n:], k) for k in (0, 2)] for n in WINDOWS]
        for scale, state in zip(self._scales, scales, strict=True):
            scale.restore(state)
