"""The event volume in windows: the last 20 buckets, the last 60, and the last 24 hours.

A window has changed where its count is beyond chance (`counts.deviance`) and beyond the history,
and where each of its quarters deviates in the same direction, so that one burst is no change; the
quarter that deviates most is left out.  The variation of counts beyond Poisson's is estimated for
each length separately, from their deviation from the prediction: it contains the dependence of
neighbouring buckets and the difference of days.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

import msgspec

from stream_monitor.checks.seasonal_rate import ExpectedCount, from_fixed_point
from stream_monitor.checks.traffic_spec import DAY_MS, TrafficSpec
from stream_monitor.detectors.detection import Direction
from stream_monitor.episodes.finding import EventPosition
from stream_monitor.statistics.counts import Extremes, deviance

WINDOWS: Final = (20, 60)  # buckets
_DAY_CELLS: Final = 24
_MEMORY_MS: Final = 14 * DAY_MS
_PRIOR: Final = 0.02  # 14 % of the mean, with the weight of four windows
_PRIOR_WINDOWS: Final = 4.0
_LEAST_HIGH: Final = 3.0  # events that may come where there never were any
_PLAUSIBLE: Final = 3.0  # deviance, 1 in 20: a change has ended

Row: TypeAlias = tuple[int, int, int, int, int, int]
"""Count, expected (low, middle, high), offset and event time of its first record."""


class VolumeChange(NamedTuple):
    """A window that changed: its events, the expected ones, and the onset of the change."""

    scale: int
    direction: Direction
    deviance: float
    n_events: int
    expected: float
    n_buckets: int
    onset: tuple[int, int]

    @property
    def ratio(self) -> float:
        """The count divided by the expected one, both with half an event more."""
        return (self.n_events + 0.5) / (self.expected + 0.5)


class VariationSums(msgspec.Struct, array_like=True):
    """Sums over windows: excess variance, expected counts, buckets, and the largest deviance."""

    excess: float = 0.0
    weight: float = 0.0
    n: float = 0.0
    largest: float = 0.0


class CountVariation(msgspec.Struct, array_like=True):
    """The variation of counts over windows of ``buckets`` buckets.

    A window is learned after one to two more windows without a change: a change that fills a window
    bucket by bucket must not become usual before it has filled it.  ``memory_buckets`` is the
    half-life.
    """

    buckets: int
    memory_buckets: int
    extremes: Extremes
    block: int = -1
    learned: VariationSums = msgspec.field(default_factory=VariationSums)
    waiting: VariationSums = msgspec.field(default_factory=VariationSums)
    current: VariationSums = msgspec.field(default_factory=VariationSums)

    def dispersion(self) -> float:
        """The variation beyond Poisson's, plus a standard error of the estimate."""
        learned = self.learned
        n = learned.n / self.buckets
        seen = max(0.0, learned.excess / learned.weight) if learned.weight > 0 else 0.0
        mean = (seen * n + _PRIOR * _PRIOR_WINDOWS) / (n + _PRIOR_WINDOWS)
        return mean * (1 + math.sqrt(2 / (n + _PRIOR_WINDOWS)))

    def discard_pending(self) -> None:
        """Drop the windows that were not learned yet."""
        self.waiting, self.current = VariationSums(), VariationSums()

    def learn(self, bucket: int, count: int, expected: float, found: float, n_buckets: int) -> None:
        """Learn a window without a change, of which ``n_buckets`` are new."""
        if bucket // self.buckets != self.block:
            self.block = bucket // self.buckets
            self._settle(bucket, self.waiting)
            self.waiting, self.current = self.current, VariationSums()
        current, off = self.current, count - expected
        current.excess += n_buckets * (off * off / max(expected, 1.0) - 1.0)
        current.weight += n_buckets * expected
        current.n += n_buckets
        current.largest = max(current.largest, found)

    def _settle(self, bucket: int, sums: VariationSums) -> None:
        if sums.n:
            keep = (0.5 ** (1 / self.memory_buckets)) ** sums.n
            learned = self.learned
            learned.excess = keep * learned.excess + sums.excess
            learned.weight = keep * learned.weight + sums.weight
            learned.n = keep * learned.n + sums.n
            self.extremes.learn(bucket, sums.largest, sums.n / self.buckets)


def _sum(rows: Sequence[Row], column: int) -> int:
    return sum([row[column] for row in rows])


def _edge(scale: int, *, down: bool) -> int:
    """The column of the bound that a count must exceed; for a whole day, the middle."""
    return 2 if scale == len(WINDOWS) else 1 if down else 3


class VolumeState(msgspec.Struct, array_like=True):
    """The latest counts by bucket and by cell, and the variation of windows by length."""

    scales: list[CountVariation]
    buckets: list[Row] = []
    cells: list[Row] = []
    cell: int = -1


class VolumeWindows:
    """Compares the latest counts with the expected ones, by windows."""

    def __init__(self, spec: TrafficSpec, state: VolumeState | None = None) -> None:
        """Start empty, or continue from a state.  Raises ValueError where it does not fit."""
        self._spec = spec
        lengths = (*WINDOWS, _DAY_CELLS * spec.cell_buckets)
        memory = max(1, _MEMORY_MS // spec.bucket_ms)
        self.state = state or VolumeState(
            [CountVariation(n, memory, Extremes(memory)) for n in lengths]
        )
        if [scale.buckets for scale in self.state.scales] != list(lengths):
            raise ValueError("volume: the stored windows have another shape")
        # Counts and expected counts of the full windows.
        self._sums = [[_sum(self.state.buckets[-n:], k) for k in (0, 2)] for n in WINDOWS]

    def clear_recent(self) -> None:
        """Discard the latest buckets, because they do not predict the next ones."""
        self.state.buckets.clear()
        self._sums = [[0, 0] for _ in WINDOWS]

    def take(self, bucket: int, count: int, expected: ExpectedCount, at: EventPosition) -> bool:
        """Add a bucket that began at ``at``; returns whether a cell has ended before it."""
        for length, sums in zip(WINDOWS, self._sums, strict=True):
            gone = self.state.buckets[-length] if len(self.state.buckets) >= length else (0, 0, 0)
            sums[0] += count - gone[0]
            sums[1] += expected.middle - gone[2]
        self.state.buckets = [
            *self.state.buckets[1 - WINDOWS[-1] :],
            (count, *expected, at.offset, at.time_ms),
        ]
        cell = bucket // self._spec.cell_buckets
        entered = cell != self.state.cell
        if entered:
            self.state.cell = cell
            self.state.cells = [
                *self.state.cells[-_DAY_CELLS:],
                (0, 0, 0, 0, at.offset, at.time_ms),
            ]
        n, low, middle, high, offset, time_ms = self.state.cells[-1]
        self.state.cells[-1] = (
            n + count,
            low + expected.low,
            middle + expected.middle,
            high + expected.high,
            offset,
            time_ms,
        )
        return entered

    def evaluate(
        self, bucket: int, chances: Sequence[float], *, day: bool, reportable: bool
    ) -> VolumeChange | None:
        """Return the change in the windows that end here; learn windows without a change.

        ``chances`` are the negative log probabilities of a false alarm, by scale.  ``day``: a cell
        has ended, so the last 24 are a window.  Without ``reportable`` no change is returned.
        """
        for i, scale in enumerate(self.state.scales):
            rows = self._window(i, full=True) if i < len(WINDOWS) or day else []
            if not rows:
                continue
            change = self._change(i, rows)
            found = 0.0 if change is None else change.deviance
            if reportable and change and found > scale.extremes.limit(chances[i]):
                for each in self.state.scales:
                    each.discard_pending()
                return change._replace(onset=self._onset(i, rows, change))
            # Windows overlap: only the last bucket, or cell, is new.
            new = 1 if i < len(WINDOWS) else self._spec.cell_buckets
            total, usual = self._sums[i] if i < len(WINDOWS) else (_sum(rows, 0), _sum(rows, 2))
            scale.learn(bucket, total, from_fixed_point(usual), found, new)
        return None

    def _window(self, i: int, *, full: bool) -> list[Row]:
        if i < len(WINDOWS):
            rows = self.state.buckets[-WINDOWS[i] :]
            return rows if len(rows) == WINDOWS[i] or not full else []
        rows = self.state.cells[-1 - _DAY_CELLS : -1]  # the last cell has just begun
        return rows if len(rows) == _DAY_CELLS or not full else []

    def _change(self, i: int, rows: Sequence[Row]) -> VolumeChange | None:
        """The deviation that all quarters share, without the one that deviates most."""
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
            deviance(count, expected, self.state.scales[i].dispersion()),
            _sum(rows, 0),
            from_fixed_point(_sum(rows, 2)),
            len(rows) if i < len(WINDOWS) else len(rows) * self._spec.cell_buckets,
            (rows[0][4], rows[0][5]),
        )

    def _onset(self, i: int, rows: Sequence[Row], change: VolumeChange) -> tuple[int, int]:
        """The onset: the row from which on the deviance of all rows is largest."""
        if i < len(WINDOWS):
            rows = self.state.buckets
        down, dispersion = change.direction == "down", self.state.scales[i].dispersion()
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
        """Return the current window of an open change, and whether the change has ended."""
        rows = self._window(scale, full=False) or self.state.buckets[-1:]
        count = _sum(rows, 0)
        mean = from_fixed_point(_sum(rows, _edge(scale, down=down))) + (
            0.0 if down else _LEAST_HIGH
        )
        off = (count < mean) == down
        found = deviance(count, mean, self.state.scales[scale].dispersion()) if off else 0.0
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
