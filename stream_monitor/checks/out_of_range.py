"""Odd values: numbers outside all that the reference has, or one that repeats where none did.

::

              too many outside           the rest is as it was
    watching -----------------> weighing ----------------------> open
      ^  ^ |                      | |                             |
      |  | +------ a value repeats, in either --------------------> |
      |  +-- the rest moved too --+                               |
      +---------------- odd values are few again -----------------+

Where most values lie outside, or the rest moved too, the population changed: that is drift, which
other rules tell of.  While odd values come, the drift of a feature is judged by all others.
While the population drifts, odd values that it may itself have are part of that finding.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from stream_monitor.checks.frequent_value import OftenWatch
from stream_monitor.checks.repeated_value import RepeatedValue, RepeatedValueDetector
from stream_monitor.episodes.formatting import format_range
from stream_monitor.episodes.messages import out_of_range_values
from stream_monitor.reference.bounds import ValueBounds, fit_bounds
from stream_monitor.reference.feature_reference import FeatureReference
from stream_monitor.reference.transform import Transform
from stream_monitor.state_parts import as_type
from stream_monitor.statistics.fixed_point import FIXED_POINT, Bools, Floats, Ints
from stream_monitor.statistics.rate_cusum import RateCusum, RateCusumState

# What moves some percent of values outside moves the others by far; what moves fewer, by less.
_FREQUENT: Final = 0.02
_REST_OF_MANY: Final = 16, 0.9, 1.9  # events, and normal scores: mean, mean square
_REST_OF_FEW: Final = 64, 0.5, 1.75
_NAMED: Final = 3
_RECENT: Final = 64
_UNIT: Final = 1 << 20  # of a log-likelihood ratio
_MANY: Final = 0.3  # of what was found
_LEAST_MANY: Final = 0.1
_ENOUGH: Final = 16
_LOOK: Final = 256
_RARE: Final = 0.01
_NEXT: Final = 1 / 8  # of the width of the range
_OVER: Final = 5.0  # the logarithm of how much likelier it must be that odd values are few
_FEW: Final = 4.0  # times fewer than there were
_ENDLESS: Final = 1e300


class OutOfRangeChange(NamedTuple):
    """After ``seen`` events odd values have begun or go on (``broken``), or are few again.

    ``message`` names them.  Of the ``n_events`` since the first of them ``n_odd`` are odd.  They
    are ``near`` where a population that moved may have them: most lie no farther outside than the
    range, which nobody declared, is wide, and none repeats; or those that do are rare, lie next to
    the range, and the usual ones repeat as well.
    """

    seen: int
    broken: bool
    message: str
    n_events: int
    n_odd: int
    up: bool
    near: bool = False
    continues: bool = False


def repeated(values: Sequence[float]) -> list[float]:
    """The values that most of these are, commonest first; empty where most differ.

    >>> repeated([-999.0, -1.0, -999.0, 3.5, -999.0]), repeated([1.5, 2.5, 3.5])
    ([-999.0], [])
    """
    counted = Counter(values).most_common(_NAMED)
    common = {value: n for value, n in counted if n > 1 and 5 * n >= len(values)}
    return list(common) if 2 * sum(common.values()) > len(values) else []


class OutOfRangeRule:
    """The rule of one numeric feature; exact under any cut of the log."""

    def __init__(self, bounds: ValueBounds, transform: Transform, arl0_events: float) -> None:
        self._bounds, self._transform = bounds, transform
        arl0_events *= bounds.rarer
        self._outside = RateCusum(
            bounds.rate, bounds.span_events, arl0_events, usual=bounds.n_outside > 0
        )
        self._repeated: RepeatedValueDetector | OftenWatch | None = None
        if bounds.chance > 0 and bounds.repeating and not bounds.known:
            self._repeated = OftenWatch(bounds.frequent_hashes, bounds.chance, arl0_events)
        elif bounds.chance > 0:
            self._repeated = RepeatedValueDetector(
                bounds.known_values, bounds.chance, arl0_events, repeating=bounds.repeating
            )
        self._n = 0  # events so far
        self.latest: Bools = np.zeros(0, dtype=np.bool_)
        """Which of the values it was given last came while they were odd, and were (n,)."""
        self._recent: list[tuple[int, float]] = []  # the latest outside
        self._start()

    def _start(self) -> None:
        """Nothing is odd."""
        self.flagged: float | None = None
        self.is_open = False
        self._begun = 0  # the event at which the first odd one came
        self._weighed: list[int] | None = None  # events, the rest of them, two sums of their scores
        self._share = self._path = self._last = 0  # of an open one: of 2^20; towards its end
        self._opened = self._counted = 0  # since when, and how many odd ones

    def _odd(self, values: Floats) -> Bools:
        outside = (values < self._bounds.low) | (values > self._bounds.high)
        return outside if self.flagged is None else outside | (values == self.flagged)

    def observe(self, values: Floats, index: Ints) -> list[OutOfRangeChange]:
        """Take consecutive values (n,) and their indices; gives what begins or is over."""
        changes: list[OutOfRangeChange] = []
        bounds = self._bounds
        outside = np.flatnonzero((values < bounds.low) | (values > bounds.high))
        self.latest = np.zeros(len(values), dtype=np.bool_)
        at = 0
        while at < len(values):
            if self.is_open:
                at, change = self._until_over(values, at)
            elif self._weighed is not None:
                at, change = self._weigh(values, index, at)
            else:
                at, change = self._watch(values, outside, at)
            if change is not None:
                changes.append(change)
        self._n += len(values)
        return changes

    def _watch(self, values: Floats, outside: Ints, at: int) -> tuple[int, OutOfRangeChange | None]:
        again = None if self._repeated is None else self._repeated.observe(values[at:])
        end = len(values) if again is None else at + again.position + 1
        alarm = self._outside.observe(_between(outside, at, end), end - at)
        if alarm is not None and at + alarm.position + 1 < end:
            end, again = at + alarm.position + 1, None
            if self._repeated is not None:
                self._repeated.undo()
                self._repeated.observe(values[at:end])
        self._remember(values, _between(outside, at, end) + at)
        if again is not None:
            return end, self._opens_with(again, end)
        if alarm is not None:
            self._begun = self._n + end - 1 - alarm.back
            self._begin_to_weigh(sum(n >= self._begun for n, _ in self._recent), alarm.back)
        return end, None

    def _weigh(self, values: Floats, index: Ints, at: int) -> tuple[int, OutOfRangeChange | None]:
        """Is what lies inside as it was?  Asked of as many events as it takes, or twice as many."""
        if self._weighed is None:
            raise RuntimeError("nothing is being weighed")
        n, n_rest, location, spread, many = self._weighed
        needed, most_location, most_spread = _REST_OF_MANY if many else _REST_OF_FEW
        inside = ~self._odd(values[at : at + 2 * needed])
        rest = np.flatnonzero(inside[: 2 * needed - n])[: needed - n_rest] + at
        full = n_rest + len(rest) == needed
        end = int(rest[-1]) + 1 if full else min(len(values), at + 2 * needed - n)
        odd = np.flatnonzero(~inside) + at
        again = None
        if self._repeated is not None and not self._bounds.repeating:
            again = self._repeated.observe(values[at:end])
        if again is not None:
            end = at + again.position + 1
            self._remember(values, odd[odd < end])
            return end, self._opens_with(again, end)
        self._remember(values, odd[odd < end])
        location += int(self._transform.location[index[rest]].sum())
        if self._transform.spread is not None:
            spread += int(self._transform.spread[index[rest]].sum())
        n, n_rest = n + end - at, n_rest + len(rest)
        self._weighed = [n, n_rest, location, spread, many]
        if not full and n < 2 * needed:
            return end, None
        scale = FIXED_POINT * max(1, n_rest)
        moved = abs(location) > most_location * scale or spread > most_spread * scale
        self._weighed = None
        if moved or not full:
            self.flagged = None
            return end, None
        mine = [each for each in self._recent if each[0] >= self._begun]
        rate = (len(mine) - 1) / max(1, mine[-1][0] - mine[0][0])
        return end, self._open(end, [value for _, value in mine], len(mine), rate)

    def _begin_to_weigh(self, n_odd: int, back: int) -> None:
        self._weighed = [0, 0, 0, 0, int(n_odd - 1 >= _FREQUENT * back)]

    def _opens_with(self, again: RepeatedValue, end: int) -> OutOfRangeChange | None:
        """A value that comes again; of a feature whose values do, the rest has to be as it was."""
        self.flagged = again.value
        self._begun = self._n + end - 1 - again.back
        if self._bounds.repeating:
            latest = (self._n + end - 1, again.value)
            self._recent = [(self._begun, again.value), *[latest] * (again.times - 1)]
            self._begin_to_weigh(again.times, again.back)
            return None
        rate = (again.times - 1) / max(1, again.back)
        return self._open(end, [again.value] * again.times, again.times, rate)

    def _open(self, end: int, values: list[float], n_odd: int, rate: float) -> OutOfRangeChange:
        self._weighed = None
        self.is_open = True
        self._share = max(1, min(_UNIT, round(rate * _UNIT)))
        self._path, self._last = 0, self._n + end - 1
        self._opened, self._counted = self._n + end, 0
        return self._change(end, values, n_odd, self._n + end - self._begun)

    def _change(
        self, end: int, values: list[float], n_odd: int, n_events: int, *, continues: bool = False
    ) -> OutOfRangeChange:
        low, high = self._bounds.low, self._bounds.high
        message = out_of_range_values(values, repeated(values), self._share / _UNIT, low, high)
        up = sum(value > high for value in values) * 2 > len(values)
        near = not self._bounds.declared and self._near(values)
        return OutOfRangeChange(
            end,
            True,  # noqa: FBT003 - the two differ by it
            message,
            n_events,
            min(n_odd, n_events),
            up,
            near,
            continues,
        )

    def _near(self, values: list[float]) -> bool:
        low, high = self._bounds.low, self._bounds.high
        width = min(high, _ENDLESS) - max(low, -_ENDLESS)
        if repeated(values):
            if not self._bounds.repeating or self._share >= _RARE * _UNIT:
                return False
            width *= _NEXT
        return 2 * sum(low - width <= value <= high + width for value in values) > len(values)

    def _continues(self, end: int) -> OutOfRangeChange:
        """What comes is looked at again now and then; the latest of it says what it is."""
        first = self._recent[0][0]
        values = [value for _, value in self._recent]
        return self._change(end, values, len(values), self._n + end - first, continues=True)

    def _until_over(self, values: Floats, at: int) -> tuple[int, OutOfRangeChange | None]:
        """The sum of log-likelihood ratios of few odd values against many.

        Many are a third of what was found; but a tenth as long as that is a handful which came
        together, and counted again once there are `_ENOUGH`.  So many, twice as many and so on to
        every `_LOOK` of them tell that it goes on.
        """
        few_known = self._counted < _ENOUGH
        share = (_LEAST_MANY if few_known else _MANY) * self._share / _UNIT
        few = min(share / 2, max(self._bounds.rate / self._bounds.span_events, share / _FEW))
        gain = max(1, round(math.log((1 - few) / (1 - share)) * _UNIT))
        cost, goal = round(math.log(share / few) * _UNIT), round(_OVER * _UNIT)
        odd = self._odd(values[at:])
        missing = _next_look(self._counted) - self._counted
        looks = int(np.count_nonzero(odd)) >= missing
        if looks:
            odd = odd[: int(np.flatnonzero(odd)[missing - 1]) + 1]
        stop = at + len(odd)
        places = np.flatnonzero(odd) + at
        hits = places + self._n
        gaps = np.diff(hits, prepend=self._last) - 1
        paths = np.cumsum(gain * gaps - cost)
        after = np.maximum(self._path, np.maximum.accumulate(-paths)) + paths if len(hits) else hits
        peaks = np.append(self._path, after) + gain * np.append(
            gaps, self._n + stop - 1 - (int(hits[-1]) if len(hits) else self._last)
        )
        over = np.flatnonzero(peaks >= goal)
        if not len(over):
            if len(hits):
                self._path, self._last = int(after[-1]), int(hits[-1])
            self._counted += len(hits)
            self._remember(values, places)
            self.latest[at:stop] = odd
            if not looks:
                return stop, None
            if few_known:
                since = max(1, self._n + stop - self._opened)
                self._share, self._path = max(1, _UNIT * _ENOUGH // since), 0
            return stop, self._continues(stop)
        k = int(over[0])
        path, last = (int(after[k - 1]), int(hits[k - 1])) if k else (self._path, self._last)
        end = last + -(-(goal - path) // gain) + 1 - self._n
        self.latest[at:end] = odd[: end - at]
        change = OutOfRangeChange(
            end,
            False,  # noqa: FBT003
            format_range(self._bounds.low, self._bounds.high),
            self._n + end - 1 - last,
            0,
            False,  # noqa: FBT003
        )
        self.reset()
        return end, change

    def reset(self) -> None:
        """It is over; what lies behind says nothing any more."""
        self._start()
        self._recent.clear()
        self._outside.forget()
        if self._repeated is not None:
            self._repeated.forget()

    def _remember(self, values: Floats, outside: Ints) -> None:
        self._recent += [(self._n + i, float(values[i])) for i in outside[-_RECENT:].tolist()]
        del self._recent[:-_RECENT]

    def snapshot(self) -> list[Any]:
        """The state as plain data."""
        opened = [
            self.is_open,
            self.flagged,
            self._share,
            self._path,
            self._last,
            self._opened,
            self._counted,
        ]
        repeated = None if self._repeated is None else self._repeated.snapshot()
        recent = [list(each) for each in self._recent]
        weighed = self._weighed
        return [self._n, self._begun, recent, weighed, opened, self._outside.snapshot(), repeated]

    def restore(self, data: Sequence[Any]) -> None:
        """Restore from `snapshot`.  Raises ValueError where it does not fit the bounds."""
        self._n, self._begun, recent, weighed, opened, outside, repeated = data
        self._recent = [(place, value) for place, value in recent]
        self._weighed = None if weighed is None else list(weighed)
        self.is_open, self.flagged, self._share, self._path, self._last, *counted = opened
        self._opened, self._counted = counted
        if (repeated is None) != (self._repeated is None):
            raise ValueError("what repeats does not fit the bounds of its reference")
        if self.is_open and not 0 < self._share <= _UNIT:
            raise ValueError("odd values without a share")
        self._outside.restore(as_type(outside, RateCusumState))
        if self._repeated is not None:
            self._repeated.restore(repeated)


def _next_look(counted: int) -> int:
    """At how many odd values what comes is looked at again.

    >>> [_next_look(n) for n in (0, 15, 16, 40, 255, 256, 600)]
    [16, 16, 32, 64, 256, 512, 768]
    """
    if counted >= _LOOK:
        return (counted // _LOOK + 1) * _LOOK
    return max(_ENOUGH, 1 << counted.bit_length())


def _between(places: Ints, start: int, end: int) -> Ints:
    """Ascending places from start to end, counted from start."""
    first, last = places.searchsorted([start, end])
    return places[first:last] - start


DERIVED_ARL0: Final = 10.0
"""Derived bounds cost the budget next to nothing: detectors of before keep their thresholds."""


def bounds_to_watch(reference: FeatureReference) -> ValueBounds | None:
    """The bounds of a feature; ``None`` where it has none.

    A profile stored before there were bounds has order statistics: tails follow from them, and that
    a value which is not among m of them has come at most once in m events.
    """
    if reference.kind != "numeric" or reference.bounds is not None:
        return reference.bounds
    quantiles = reference.quantiles
    tau = max((c.tau for c in reference.channels if c.channel != "validity"), default=1.0)
    n = max(1, reference.n_events - reference.n_invalid)
    derived = fit_bounds(quantiles, tau, n=n)
    ends = (reference.minimum, reference.maximum)
    lowest, highest = (
        derived.low if ends[0] is None else ends[0],
        derived.high if ends[1] is None else ends[1],
    )
    chance = derived.chance
    if chance and n > len(quantiles):
        chance = max(chance, 1 / len(quantiles))
    return msgspec.structs.replace(
        derived,
        low=min(derived.low, lowest),
        high=max(derived.high, highest),
        chance=chance,
        rarer=DERIVED_ARL0,
    )
