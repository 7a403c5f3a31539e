"""The unit rule: a feature that is suddenly sent in another unit.

Sequential detectors see such a break, but on a strongly autocorrelated feature (temperature) they
cannot tell it from weather for days.  The rule needs two spans of 32 events.  It fires when nearly
all values of a span lie beyond everything the reference has seen, the level jumped by at least
three reference standard deviations, most of it from one event to the next (weather takes hours),
and a known conversion carries the level before the jump onto the level after it.  Where several
conversions do, the one that also explains the change of spread is named.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from stream_monitor.ingest.batch import Bools, Ints

SPAN_EVENTS: Final = 32
_OUTSIDE_SHARE: Final = 0.9
_MIN_JUMP_SD: Final = 3.0
_STEP_SHARE: Final = 0.6  # of the jump, between two neighbouring events
_SPREAD_WEIGHT: Final = 0.25
_SQUARE_SHIFT: Final = 12  # squares of 32 scaled values must fit 64 bits
_TOLERANCE: Final = 0.15  # of the jump: the level may also have moved by itself meanwhile


class Conversion(NamedTuple):
    """``new = slope * old + intercept``."""

    name: str
    slope: float
    intercept: float


def _both_ways(one: str, other: str, slope: float, intercept: float = 0.0) -> list[Conversion]:
    return [
        Conversion(f"{one} → {other}", slope, intercept),
        Conversion(f"{other} → {one}", 1 / slope, -intercept / slope),
    ]


CONVERSIONS: Final = (
    *_both_ways("°C", "°F", 1.8, 32.0),
    *_both_ways("°C", "K", 1.0, 273.15),
    *_both_ways("miles", "km", 1.609344),
    *_both_ways("m", "ft", 3.28084),
    *_both_ways("kg", "lb", 2.204623),
    *_both_ways("inches", "cm", 2.54),
    *_both_ways("inHg", "hPa", 33.8639),
    *_both_ways("minutes", "seconds", 60.0),
    *_both_ways("percent", "fraction", 0.01),
    *_both_ways("thousands", "units", 1000.0),
)


class SpanStatistics(NamedTuple):
    """Level and spread of 32 consecutive events, and the largest step into or within them."""

    level: float
    spread: float
    step: float


def conversion_between(
    before: SpanStatistics, after: SpanStatistics, sd: float
) -> Conversion | None:
    """The known conversion that carries one level onto the other, if the jump is large.

    >>> conversion_between(SpanStatistics(41.0, 3.0, 1.0), SpanStatistics(5.3, 1.7, 34.0), 9.0).name
    '°F → °C'
    >>> small = SpanStatistics(38.0, 3.0, 1.0)
    >>> conversion_between(SpanStatistics(41.0, 3.0, 1.0), small, 9.0) is None
    True
    """
    jump = abs(after.level - before.level)
    if not jump >= _MIN_JUMP_SD * sd > 0 or after.step < _STEP_SHARE * jump:
        return None

    def miss(conversion: Conversion) -> float:
        expected = conversion.slope * before.level + conversion.intercept
        moved = abs(expected - before.level)
        return abs(after.level - expected) / moved if moved else math.inf

    def unlikeliness(conversion: Conversion) -> float:
        expected = conversion.slope * before.spread
        if not (expected > 0 and after.spread > 0):
            return miss(conversion)
        return miss(conversion) + _SPREAD_WEIGHT * abs(math.log(after.spread / expected))

    known = [conversion for conversion in CONVERSIONS if miss(conversion) <= _TOLERANCE]
    return min(known, key=unlikeliness, default=None)


class UnitChange(NamedTuple):
    """The rule fired, or its break is over, after ``seen`` events of the batch."""

    seen: int
    conversion: str
    before: float
    after: float
    since: int
    """How many events before ``seen`` the break began, at the most."""
    broken: bool


class _Columns(NamedTuple):
    values: Ints
    squares: Ints
    outside: Bools
    steps: Ints


class UnitRule:
    """Consecutive spans of one numeric feature, in raw units; exact under any cut."""

    def __init__(self, centre: float, scale: float, sd: float, fixed_point: int) -> None:
        self._centre, self._factor, self._sd = centre, scale / fixed_point, sd
        self._start_span()
        self._last: int | None = None
        self._spans: list[SpanStatistics] = []  # the last two full ones
        self.broken: Conversion | None = None
        self._before = 0.0
        self._back = 0

    def _start_span(self) -> None:
        self._n, self._total, self._squares, self._outside, self._step = 0, 0, 0, 0, 0

    def observe(self, values: Ints, outside: Bools) -> list[UnitChange]:
        """Take consecutive fixed-point values (n,); ``outside`` marks those off the reference."""
        changes: list[UnitChange] = []
        if not len(values):
            return changes
        first = int(values[0]) if self._last is None else self._last
        self._last = int(values[-1])
        steps = np.empty_like(values)
        steps[0] = values[0] - first
        np.subtract(values[1:], values[:-1], out=steps[1:])
        np.abs(steps, out=steps)
        squares = (values >> _SQUARE_SHIFT) ** 2
        columns = _Columns(values, squares, outside, steps)
        head = min(len(values), (SPAN_EVENTS - self._n) % SPAN_EVENTS)
        full = (len(values) - head) // SPAN_EVENTS
        middle = head + full * SPAN_EVENTS
        if head:
            self._add(columns, 0, head)
            self._close_if_full(head, changes)
        if full:
            beyond = outside[head:middle].reshape(full, SPAN_EVENTS).sum(axis=1)
            calm = self.broken is None and not (beyond >= _OUTSIDE_SHARE * SPAN_EVENTS).any()
            # The common case, without a loop: only the last two spans matter.
            for i in range(max(0, full - 2) if calm else 0, full):
                start = head + i * SPAN_EVENTS
                self._add(columns, start, start + SPAN_EVENTS)
                self._close_if_full(start + SPAN_EVENTS, changes)
        if middle < len(values):
            self._add(columns, middle, len(values))
        return changes

    def _add(self, columns: _Columns, start: int, end: int) -> None:
        part = slice(start, end)
        self._n += end - start
        self._total += int(columns.values[part].sum())
        self._squares += int(columns.squares[part].sum())
        self._outside += int(np.count_nonzero(columns.outside[part]))
        self._step = max(self._step, int(columns.steps[part].max()))

    def _span(self) -> SpanStatistics:
        mean = self._total / SPAN_EVENTS
        scatter = self._squares / SPAN_EVENTS * (1 << 2 * _SQUARE_SHIFT) - mean * mean
        spread = abs(self._factor) * math.sqrt(max(0.0, scatter))
        return SpanStatistics(
            self._centre + self._factor * mean, spread, abs(self._factor) * self._step
        )

    def _close_if_full(self, seen: int, changes: list[UnitChange]) -> None:
        if self._n == SPAN_EVENTS:
            span, outside_share = self._span(), self._outside / SPAN_EVENTS
            self._start_span()
            change = self._judge(span, outside_share, seen)
            self._spans = [*self._spans[-1:], span]
            if change is not None:
                changes.append(change)

    def _judge(self, span: SpanStatistics, outside_share: float, seen: int) -> UnitChange | None:
        since = 2 * SPAN_EVENTS
        if self.broken is not None:
            name = self.broken.name
            expected = self.broken.slope * self._before + self.broken.intercept
            returned = abs(span.level - self._before) < abs(span.level - expected)
            self._back = self._back + 1 if returned else 0
            if self._back < 2:
                return None
            self.reset()
            return UnitChange(seen, name, expected, span.level, since, broken=False)
        if len(self._spans) < 2 or outside_share < _OUTSIDE_SHARE:
            return None
        # The span between may be half old, half new: compare with the one before it.
        before, between = self._spans
        found = conversion_between(
            before, span._replace(step=max(span.step, between.step)), self._sd
        )
        if found is None:
            return None
        self.broken, self._before, self._back = found, before.level, 0
        return UnitChange(seen, found.name, before.level, span.level, since, broken=True)

    def reset(self) -> None:
        """The break is over because somebody says so; spans that lie behind prove nothing."""
        self.broken, self._back, self._spans = None, 0, []

    def snapshot(self) -> list[Any]:
        """The state as plain data."""
        broken = None if self.broken is None else self.broken.name
        partial = [self._n, self._total, self._squares, self._outside, self._step, self._last]
        return [partial, [list(span) for span in self._spans], broken, self._before, self._back]

    def restore(self, data: Sequence[Any]) -> None:
        """Restore from `snapshot`.  Raises ValueError on what no snapshot holds."""
        partial, spans, broken, before, back = data
        known = {conversion.name: conversion for conversion in CONVERSIONS}
        n, total, squares, outside, step, last = partial
        if not 0 <= outside <= n < SPAN_EVENTS or len(spans) > 2 or back not in (0, 1):
            raise ValueError("impossible unit watch state")
        if broken is not None and broken not in known:
            raise ValueError(f"unknown conversion {broken!r}")
        self._n, self._total, self._squares, self._outside = n, total, squares, outside
        self._step, self._last = step, last
        self._spans, self._before, self._back = (
            [SpanStatistics(*span) for span in spans],
            before,
            back,
        )
        self.broken = None if broken is None else known[broken]
