"""The unit rule: detects a feature that is suddenly sent in another unit.

Sequential detectors find such a change, but on a strongly autocorrelated feature (temperature) they
need days to distinguish it from weather.  The rule needs two spans of 32 events.  It fires when
nearly all values of a span are outside of the reference, the level jumped by at least three
reference standard deviations, most of it from one event to the next (weather takes hours), and a
known conversion maps the level before the jump to the level after it.  Where several conversions
do, the rule names the one that also explains the change of spread.  No conversion makes varying
values constant: a sensor that fails at 0 is not sent in another unit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from operator import mul, sub
from typing import Final, NamedTuple

import msgspec
import numpy as np

from stream_monitor.ingest.batch import Bools, Floats, Ints

SPAN_EVENTS: Final = 32
_OUTSIDE_SHARE: Final = 0.9
_MIN_JUMP_SD: Final = 3.0
_STEP_SHARE: Final = 0.6  # of the jump, between two neighbouring events
_SPREAD_WEIGHT: Final = 0.25
_SQUARE_SHIFT: Final = 12  # squares of 32 scaled values must fit 64 bits
_FEW_VALUES: Final = 64
"""Fewer values are faster in plain Python."""
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
_BY_NAME: Final = {conversion.name: conversion for conversion in CONVERSIONS}


class SpanStatistics(NamedTuple):
    """Level and spread of 32 consecutive events, and the largest step into or within them."""

    level: float
    spread: float
    step: float


def conversion_between(
    before: SpanStatistics, after: SpanStatistics, sd: float
) -> Conversion | None:
    """The known conversion that maps one level to the other, if the jump is large.

    >>> conversion_between(SpanStatistics(41.0, 3.0, 1.0), SpanStatistics(5.3, 1.7, 34.0), 9.0).name
    '°F → °C'
    >>> small = SpanStatistics(38.0, 3.0, 1.0)
    >>> conversion_between(SpanStatistics(41.0, 3.0, 1.0), small, 9.0) is None
    True
    >>> nothing = SpanStatistics(0.0, 0.0, 70.0)
    >>> conversion_between(SpanStatistics(70.0, 3.0, 1.0), nothing, 9.0) is None
    True
    """
    jump = abs(after.level - before.level)
    if not jump >= _MIN_JUMP_SD * sd > 0 or after.step < _STEP_SHARE * jump:
        return None

    def miss(conversion: Conversion) -> float:
        expected = conversion.slope * before.level + conversion.intercept
        moved = abs(expected - before.level)
        if not moved:
            return math.inf
        missed = abs(after.level - expected) / moved
        if conversion.intercept or conversion.slope >= 1:
            return missed
        # Next to a large level, a hundredth of it, a millionth and zero are all the same.
        implied = after.level / conversion.slope
        return max(missed, abs(implied - before.level) / (2 * abs(before.level)))

    def unlikeliness(conversion: Conversion) -> float:
        expected = conversion.slope * before.spread
        if not (expected > 0 and after.spread > 0):
            return miss(conversion)
        return miss(conversion) + _SPREAD_WEIGHT * abs(math.log(after.spread / expected))

    known = [conversion for conversion in CONVERSIONS if miss(conversion) <= _TOLERANCE]
    return min(known, key=unlikeliness, default=None)


class UnitChange(NamedTuple):
    """A change found after ``seen`` events of a batch: of the unit (``broken``), or back to it."""

    seen: int
    conversion: str
    before: float
    after: float
    since: int
    """The most events before ``seen`` at which the change began."""
    broken: bool


class UnitState(msgspec.Struct, array_like=True):
    """The sums of the present span of ``n`` events, and the last two full spans.

    ``broken`` names the conversion while the unit is another one; ``before`` is the level before
    it, ``back`` the number of consecutive spans at that level.
    """

    n: int = 0
    total: int = 0
    squares: int = 0
    outside: int = 0
    step: int = 0
    last: int | None = None
    spans: list[SpanStatistics] = []
    broken: str | None = None
    before: float = 0.0
    back: int = 0


def _any_outside(spans: Bools) -> bool:
    """Whether nearly all values of any of the spans (n, 32) are outside the reference."""
    return bool((spans.sum(axis=1) >= _OUTSIDE_SHARE * SPAN_EVENTS).any())


def _sums(
    values: Ints, outside: Bools, before: int, starts: list[int]
) -> Iterator[tuple[int, int, int, int, int]]:
    """End, sum, sum of scaled squares, values outside and largest step of parts of the values.

    The parts begin at ``starts``; ``before`` is the value before the first of them.
    """
    if len(values) <= _FEW_VALUES:
        return _sums_of_few(values.tolist(), outside.tolist(), before, starts)
    first = starts[0]
    part, at = values[first:], [start - first for start in starts]
    steps = np.empty_like(part)
    steps[0] = part[0] - before
    np.subtract(part[1:], part[:-1], out=steps[1:])
    return zip(
        [*starts[1:], len(values)],
        np.add.reduceat(part, at).tolist(),
        np.add.reduceat(np.square(part >> _SQUARE_SHIFT), at).tolist(),
        np.add.reduceat(outside[first:], at, dtype=np.int64).tolist(),
        np.maximum.reduceat(np.abs(steps, out=steps), at).tolist(),
        strict=True,
    )


def _sums_of_few(
    values: list[int], outside: list[bool], before: int, starts: list[int]
) -> Iterator[tuple[int, int, int, int, int]]:
    """The same in plain Python: each array operation has a cost of its own."""
    for start, end in pairwise([*starts, len(values)]):
        part = values[start:end]
        steps = map(sub, part, [before, *part[:-1]])
        shifted = [value >> _SQUARE_SHIFT for value in part]
        squares = sum(map(mul, shifted, shifted))
        yield end, sum(part), squares, sum(outside[start:end]), max(map(abs, steps))
        before = part[-1]


def _is_constant(raw: Floats, run: int) -> bool:
    """Whether the span that ends with ``raw`` has one value; ``run`` as in `UnitRule.observe`."""
    part = raw[-SPAN_EVENTS:]
    return len(part) + run >= SPAN_EVENTS and bool((part == part[0]).all())


class UnitRule:
    """Compares consecutive spans of one numeric feature, in raw units."""

    def __init__(self, centre: float, scale: float, sd: float, fixed_point: int) -> None:
        self._centre, self._factor, self._sd = centre, scale / fixed_point, sd
        self.state = UnitState()

    @property
    def broken(self) -> Conversion | None:
        """The conversion from the old unit while a change of unit is open, else ``None``."""
        return None if self.state.broken is None else _BY_NAME[self.state.broken]

    def _start_span(self) -> None:
        now = self.state
        now.n = now.total = now.squares = now.outside = now.step = 0

    def observe(
        self, values: Ints, outside: Bools, raw: Floats | None = None, run: int = 0
    ) -> list[UnitChange]:
        """Apply consecutive fixed-point values (n,); ``outside`` marks those out of range.

        ``raw`` are the values as they were sent, if a constant one is unusual; ``run`` is the
        number of values equal to the first that came immediately before.
        """
        changes: list[UnitChange] = []
        if not len(values):
            return changes
        state, n = self.state, len(values)
        before = int(values[0]) if state.last is None else state.last
        state.last = int(values[-1])
        head = min(n, (SPAN_EVENTS - state.n) % SPAN_EVENTS)
        full = (n - head) // SPAN_EVENTS
        middle = head + full * SPAN_EVENTS
        start = 0
        if full > 1 and self._is_calm(outside, head, middle):  # only the last two spans matter
            start, head = middle - 2 * SPAN_EVENTS, 0
            before = int(values[start - 1]) if start else before
            self._start_span()
        starts = [*([start] if head else []), *range(start + head, middle, SPAN_EVENTS)]
        if middle < n:
            starts.append(middle)
        for end, total, squares, n_outside, step in _sums(values, outside, before, starts):
            state.n += end - start
            state.total += total
            state.squares += squares
            state.outside += n_outside
            state.step = max(state.step, step)
            self._close_if_full(end, changes, raw, run)
            start = end
        return changes

    def _is_calm(self, outside: Bools, head: int, middle: int) -> bool:
        """Whether no span that ends in the batch can begin or end a change.

        The first ends at ``head``, if that is not 0; the last at ``middle``.
        """
        if self.state.broken is not None:
            return False
        most = _OUTSIDE_SHARE * SPAN_EVENTS
        if np.count_nonzero(outside) + self.state.outside < most:
            return True
        if head and self.state.outside + np.count_nonzero(outside[:head]) >= most:
            return False
        return not _any_outside(outside[head:middle].reshape(-1, SPAN_EVENTS))

    def _span(self) -> SpanStatistics:
        mean = self.state.total / SPAN_EVENTS
        scatter = self.state.squares / SPAN_EVENTS * (1 << 2 * _SQUARE_SHIFT) - mean * mean
        spread = abs(self._factor) * math.sqrt(max(0.0, scatter))
        return SpanStatistics(
            self._centre + self._factor * mean, spread, abs(self._factor) * self.state.step
        )

    def _close_if_full(
        self, seen: int, changes: list[UnitChange], raw: Floats | None, run: int
    ) -> None:
        if self.state.n == SPAN_EVENTS:
            span, outside_share = self._span(), self.state.outside / SPAN_EVENTS
            self._start_span()
            change = self._evaluate(span, outside_share, seen, raw, run)
            self.state.spans = [*self.state.spans[-1:], span]
            if change is not None:
                changes.append(change)

    def _evaluate(
        self, span: SpanStatistics, outside_share: float, seen: int, raw: Floats | None, run: int
    ) -> UnitChange | None:
        since = 2 * SPAN_EVENTS
        broken = self.broken
        if broken is not None:
            name = broken.name
            expected = broken.slope * self.state.before + broken.intercept
            returned = abs(span.level - self.state.before) < abs(span.level - expected)
            self.state.back = self.state.back + 1 if returned else 0
            if self.state.back < 2:
                return None
            self.reset()
            return UnitChange(seen, name, expected, span.level, since, broken=False)
        if len(self.state.spans) < 2 or outside_share < _OUTSIDE_SHARE:
            return None
        # The span between may contain both units: compare with the one before it.
        before, between = self.state.spans
        found = conversion_between(
            before, span._replace(step=max(span.step, between.step)), self._sd
        )
        if found is None or (raw is not None and _is_constant(raw[:seen], run)):
            return None
        self.state.broken, self.state.before, self.state.back = found.name, before.level, 0
        return UnitChange(seen, found.name, before.level, span.level, since, broken=True)

    def reset(self) -> None:
        """End the change of unit, and forget earlier spans."""
        self.state.broken, self.state.back, self.state.spans = None, 0, []

    def restore(self, state: UnitState) -> None:
        """Continue from ``state``.  Raises ValueError where it is impossible."""
        fits = 0 <= state.outside <= state.n < SPAN_EVENTS and len(state.spans) <= 2
        if not fits or state.back not in (0, 1):
            raise ValueError("the stored state of a unit rule is invalid")
        if state.broken is not None and state.broken not in _BY_NAME:
            raise ValueError(f"unknown conversion {state.broken!r}")
        self.state = state
