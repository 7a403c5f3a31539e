"""The unit rule: a feature that is suddenly sent in another unit.

Sequential detectors see such a break, but on a strongly autocorrelated feature (temperature) they
cannot tell it from weather for days.  The rule needs two spans of 32 events.  It fires when nearly
all values of a span lie beyond everything the reference has seen, the level jumped by at least two
reference standard deviations, and a known conversion carries the level before the jump onto the
level after it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from stream_monitor.ingest.batch import Bools, Ints

SPAN_EVENTS: Final = 32
_OUTSIDE_SHARE: Final = 0.9
_MIN_JUMP_SD: Final = 2.0
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


def conversion_between(before: float, after: float, sd: float) -> Conversion | None:
    """The known conversion that carries one level onto the other, if the jump is large.

    >>> conversion_between(41.0, 5.3, 9.0).name
    '°F → °C'
    >>> conversion_between(41.0, 38.0, 9.0) is None
    True
    """
    if not abs(after - before) >= _MIN_JUMP_SD * sd > 0:
        return None

    def miss(conversion: Conversion) -> float:
        expected = conversion.slope * before + conversion.intercept
        return abs(after - expected) / abs(expected - before) if expected != before else math.inf

    best = min(CONVERSIONS, key=miss)
    return best if miss(best) <= _TOLERANCE else None


class UnitChange(NamedTuple):
    """The rule fired, or its break is over, after ``seen`` events of the batch."""

    seen: int
    conversion: str
    before: float
    after: float
    since: int
    """How many events before ``seen`` the break began, at the most."""
    broken: bool


class UnitWatch:
    """Levels of consecutive spans of one numeric feature, in raw units; exact under any cut."""

    def __init__(self, centre: float, scale: float, sd: float, fixed_point: int) -> None:
        self._centre, self._factor, self._sd = centre, scale / fixed_point, sd
        self._n, self._total, self._outside = 0, 0, 0
        self._levels: list[float] = []  # of the last two full spans
        self.broken: Conversion | None = None
        self._before = 0.0
        self._back = 0

    def observe(self, values: Ints, outside: Bools) -> list[UnitChange]:
        """Take consecutive fixed-point values (n,); ``outside`` marks those off the reference."""
        changes: list[UnitChange] = []
        head = min(len(values), (SPAN_EVENTS - self._n) % SPAN_EVENTS)
        full = (len(values) - head) // SPAN_EVENTS
        middle = head + full * SPAN_EVENTS
        if head:
            self._add(int(values[:head].sum()), int(np.count_nonzero(outside[:head])), head)
            self._close_if_full(head, changes)
        if full:
            totals = values[head:middle].reshape(full, SPAN_EVENTS).sum(axis=1)
            beyond = outside[head:middle].reshape(full, SPAN_EVENTS).sum(axis=1)
            if self.broken is None and not (beyond >= _OUTSIDE_SHARE * SPAN_EVENTS).any():
                # The common case, without a loop: only the last two levels matter.
                levels = [self._level(int(total)) for total in totals[-2:]]
                self._levels = [*self._levels, *levels][-2:]
            else:
                for i in range(full):
                    self._add(int(totals[i]), int(beyond[i]), SPAN_EVENTS)
                    self._close_if_full(head + (i + 1) * SPAN_EVENTS, changes)
        if middle < len(values):
            tail = len(values) - middle
            self._add(int(values[middle:].sum()), int(np.count_nonzero(outside[middle:])), tail)
        return changes

    def _add(self, total: int, outside: int, n: int) -> None:
        self._n += n
        self._total += total
        self._outside += outside

    def _level(self, total: int) -> float:
        return self._centre + self._factor * total / SPAN_EVENTS

    def _close_if_full(self, seen: int, changes: list[UnitChange]) -> None:
        if self._n == SPAN_EVENTS:
            change = self._close_span(seen)
            if change is not None:
                changes.append(change)

    def _close_span(self, seen: int) -> UnitChange | None:
        level = self._level(self._total)
        outside_share = self._outside / SPAN_EVENTS
        self._n, self._total, self._outside = 0, 0, 0
        change = None
        if self.broken is not None:
            expected = self.broken.slope * self._before + self.broken.intercept
            returned = abs(level - self._before) < abs(level - expected)
            self._back = self._back + 1 if returned else 0
            if self._back == 2:
                change = UnitChange(
                    seen, self.broken.name, expected, level, 2 * SPAN_EVENTS, broken=False
                )
                self.broken, self._back, self._levels = None, 0, []
        elif len(self._levels) == 2 and outside_share >= _OUTSIDE_SHARE:
            # The span between may be half old, half new: compare with the one before it.
            found = conversion_between(self._levels[0], level, self._sd)
            if found is not None:
                self.broken, self._before, self._back = found, self._levels[0], 0
                change = UnitChange(
                    seen, found.name, self._before, level, 2 * SPAN_EVENTS, broken=True
                )
        self._levels = [*self._levels[-1:], level]
        return change

    def snapshot(self) -> list[Any]:
        """All that changes, as plain data."""
        broken = None if self.broken is None else self.broken.name
        levels = list(self._levels)
        return [self._n, self._total, self._outside, levels, broken, self._before, self._back]

    def restore(self, data: Sequence[Any]) -> None:
        """Continue from `snapshot`.  Raises ValueError on what no snapshot holds."""
        n, total, outside, levels, broken, before, back = data
        known = {conversion.name: conversion for conversion in CONVERSIONS}
        if not 0 <= outside <= n < SPAN_EVENTS or len(levels) > 2 or back not in (0, 1):
            raise ValueError("impossible unit watch state")
        if broken is not None and broken not in known:
            raise ValueError(f"unknown conversion {broken!r}")
        self._n, self._total, self._outside = n, total, outside
        self._levels, self._before, self._back = list(levels), before, back
        self.broken = None if broken is None else known[broken]
