"""The range rule: detects values outside the reference range, and one unknown value that repeats.

Both are called odd values.

::

              too many outside           the others did not change
    watching -----------------> comparing -----------------------> open
      ^  ^ |                      | |                                |
      |  | +------ a value repeats, in either state ---------------> |
      |  +-- the others changed --+                                  |
      +---------------- odd values are few again --------------------+

Where most values lie outside, or the other values changed too, the population changed: other checks
report that drift.  While odd values come, the drift of the feature is tested without them.  While
the population drifts, odd values that it may itself have are part of that drift.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np

from stream_monitor.checks.frequent_value import FrequentValueDetector
from stream_monitor.checks.repeated_value import (
    RepeatedValue,
    RepeatedValueDetector,
    RepeatedValueState,
)
from stream_monitor.episodes.formatting import format_range
from stream_monitor.episodes.messages import out_of_range_values
from stream_monitor.reference.bounds import ValueBounds, fit_bounds
from stream_monitor.reference.feature_reference import FeatureReference
from stream_monitor.reference.transform import Transform
from stream_monitor.statistics.fixed_point import FIXED_POINT, Bools, Floats, Ints
from stream_monitor.statistics.rate_cusum import RateCusum, RateCusumState

# A drift that moves some percent of values outside moves the others far; fewer, less far.
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
_NOWHERE: Final = np.zeros(0, dtype=np.int64)
_NONE_ODD: Final = np.zeros(0, dtype=np.bool_)


class OutOfRangeChange(NamedTuple):
    """A change found after ``seen`` events of a batch: odd values (``broken``), or few again.

    ``message`` names them.  Of the ``n_events`` since the first of them ``n_odd`` are odd.  They
    are ``near`` if a population that drifts may have them: the range is not declared, most lie no
    farther outside than the range is wide, and none repeats; or repeated ones are rare, lie next to
    the range, and usual values repeat as well.  ``value`` is the unknown value that repeats, if one
    does.
    """

    seen: int
    broken: bool
    message: str
    n_events: int
    n_odd: int
    up: bool
    near: bool = False
    continues: bool = False
    value: float | None = None


def repeated(values: Sequence[float]) -> list[float]:
    """Return the few values that make up most of ``values``, by frequency; empty if most differ.

    >>> repeated([-999.0, -1.0, -999.0, 3.5, -999.0]), repeated([1.5, 2.5, 3.5])
    ([-999.0], [])
    """
    counted = Counter(values).most_common(_NAMED)
    common = {value: n for value, n in counted if n > 1 and 5 * n >= len(values)}
    return list(common) if 2 * sum(common.values()) > len(values) else []


class OutOfRangeState(msgspec.Struct, array_like=True):
    """The state of a range rule.

    ``n`` events came so far; ``recent`` are the latest values outside, with their events.
    ``flagged`` is a value that repeats, ``begun`` the event of the first odd value.  ``rest`` is
    the comparison of the other values: events, other values, two sums of their scores, and whether
    many are odd.  Of an open episode, ``share`` is the share of odd values and ``path`` the sum
    towards its end (both in 2^-20), ``last`` the event of the last odd value, ``opened`` the event
    at which it was opened, and ``counted`` the odd values since.
    """

    n: int = 0
    recent: list[tuple[int, float]] = []
    flagged: float | None = None
    is_open: bool = False
    begun: int = 0
    rest: list[int] | None = None
    share: int = 0
    path: int = 0
    last: int = 0
    opened: int = 0
    counted: int = 0
    outside: RateCusumState | None = None
    repeated: RepeatedValueState | None = None


class OutOfRangeRule:
    """The range rule of one numeric feature."""

    def __init__(self, bounds: ValueBounds, transform: Transform, arl0_events: float) -> None:
        self._bounds, self._transform = bounds, transform
        arl0_events *= bounds.rarer
        self._outside = RateCusum(
            bounds.rate, bounds.span_events, arl0_events, usual=bounds.n_outside > 0
        )
        self._repeated: RepeatedValueDetector | FrequentValueDetector | None = None
        if bounds.chance > 0 and bounds.repeating and not bounds.known:
            self._repeated = FrequentValueDetector(
                bounds.frequent_hashes, bounds.chance, arl0_events
            )
        elif bounds.chance > 0:
            self._repeated = RepeatedValueDetector(
                bounds.known_values, bounds.chance, arl0_events, repeating=bounds.repeating
            )
        self.state = OutOfRangeState()
        self.latest: Bools = _NONE_ODD
        """Which of the values of the last batch are odd, where an episode was open (n,)."""

    @property
    def is_open(self) -> bool:
        """Whether an episode is open."""
        return self.state.is_open

    def _odd(self, values: Floats) -> Bools:
        outside = (values < self._bounds.low) | (values > self._bounds.high)
        return outside if self.state.flagged is None else outside | (values == self.state.flagged)

    def observe(
        self, values: Floats, index: Ints, *, all_inside: bool = False
    ) -> list[OutOfRangeChange]:
        """Apply consecutive values (n,) and their indices; returns the changes.

        ``all_inside``: it is known that no value is outside of the bounds.
        """
        changes: list[OutOfRangeChange] = []
        bounds, outside = self._bounds, _NOWHERE
        if not all_inside:
            outside = ((values < bounds.low) | (values > bounds.high)).nonzero()[0]
        self.latest = np.zeros(len(values), dtype=np.bool_)
        at = 0
        while at < len(values):
            if self.state.is_open:
                at, change = self._until_over(values, at)
            elif self.state.rest is not None:
                at, change = self._compare(values, index, at)
            else:
                at, change = self._watch(values, outside, at)
            if change is not None:
                changes.append(change)
        self.state.n += len(values)
        if self._repeated is not None:
            self._repeated.keep()
        if not changes and not self.state.is_open:
            self.latest = _NONE_ODD
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
            self.state.begun = self.state.n + end - 1 - alarm.back
            self._begin_to_compare(
                sum(n >= self.state.begun for n, _ in self.state.recent), alarm.back
            )
        return end, None

    def _compare(self, values: Floats, index: Ints, at: int) -> tuple[int, OutOfRangeChange | None]:
        """Compare the other values with the reference; undecided after twice the events needed."""
        if self.state.rest is None:
            raise RuntimeError("no comparison has begun")
        n, n_rest, location, spread, many = self.state.rest
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
        self.state.rest = [n, n_rest, location, spread, many]
        if not full and n < 2 * needed:
            return end, None
        scale = FIXED_POINT * max(1, n_rest)
        moved = abs(location) > most_location * scale or spread > most_spread * scale
        self.state.rest = None
        if moved or not full:
            self.state.flagged = None
            return end, None
        mine = [each for each in self.state.recent if each[0] >= self.state.begun]
        rate = (len(mine) - 1) / max(1, mine[-1][0] - mine[0][0])
        return end, self._open(end, [value for _, value in mine], len(mine), rate)

    def _begin_to_compare(self, n_odd: int, back: int) -> None:
        self.state.rest = [0, 0, 0, 0, int(n_odd - 1 >= _FREQUENT * back)]

    def _opens_with(self, again: RepeatedValue, end: int) -> OutOfRangeChange | None:
        """Open an episode of a repeated value; compare the others first where usual ones repeat."""
        self.state.flagged = again.value
        self.state.begun = self.state.n + end - 1 - again.back
        if self._bounds.repeating:
            latest = (self.state.n + end - 1, again.value)
            self.state.recent = [(self.state.begun, again.value), *[latest] * (again.times - 1)]
            self._begin_to_compare(again.times, again.back)
            return None
        rate = (again.times - 1) / max(1, again.back)
        return self._open(end, [again.value] * again.times, again.times, rate)

    def _open(self, end: int, values: list[float], n_odd: int, rate: float) -> OutOfRangeChange:
        self.state.rest = None
        self.state.is_open = True
        self.state.share = max(1, min(_UNIT, round(rate * _UNIT)))
        self.state.path, self.state.last = 0, self.state.n + end - 1
        self.state.opened, self.state.counted = self.state.n + end, 0
        return self._change(end, values, n_odd, self.state.n + end - self.state.begun)

    def _change(
        self, end: int, values: list[float], n_odd: int, n_events: int, *, continues: bool = False
    ) -> OutOfRangeChange:
        low, high = self._bounds.low, self._bounds.high
        message = out_of_range_values(values, repeated(values), self.state.share / _UNIT, low, high)
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
            self.state.flagged,
        )

    def _near(self, values: list[float]) -> bool:
        low, high = self._bounds.low, self._bounds.high
        width = min(high, _ENDLESS) - max(low, -_ENDLESS)
        if repeated(values):
            if not self._bounds.repeating or self.state.share >= _RARE * _UNIT:
                return False
            width *= _NEXT
        return 2 * sum(low - width <= value <= high + width for value in values) > len(values)

    def _continues(self, end: int) -> OutOfRangeChange:
        """Report that odd values continue, described by the latest of them."""
        first = self.state.recent[0][0]
        values = [value for _, value in self.state.recent]
        return self._change(end, values, len(values), self.state.n + end - first, continues=True)

    def _until_over(self, values: Floats, at: int) -> tuple[int, OutOfRangeChange | None]:
        """Sum the log-likelihood ratios of few odd values against many.

        Many are a third of the share that was found; a tenth while the share is known from a few
        that came together, which ends at `_ENOUGH` of them.  After so many, twice as many and so on
        up to every `_LOOK` of them, a change reports that they continue.
        """
        few_known = self.state.counted < _ENOUGH
        share = (_LEAST_MANY if few_known else _MANY) * self.state.share / _UNIT
        few = min(share / 2, max(self._bounds.rate / self._bounds.span_events, share / _FEW))
        gain = max(1, round(math.log((1 - few) / (1 - share)) * _UNIT))
        cost, goal = round(math.log(share / few) * _UNIT), round(_OVER * _UNIT)
        odd = self._odd(values[at:])
        missing = _next_look(self.state.counted) - self.state.counted
        looks = int(np.count_nonzero(odd)) >= missing
        if looks:
            odd = odd[: int(np.flatnonzero(odd)[missing - 1]) + 1]
        stop = at + len(odd)
        places = np.flatnonzero(odd) + at
        hits = places + self.state.n
        gaps = np.diff(hits, prepend=self.state.last) - 1
        paths = np.cumsum(gain * gaps - cost)
        after = (
            np.maximum(self.state.path, np.maximum.accumulate(-paths)) + paths
            if len(hits)
            else hits
        )
        peaks = np.append(self.state.path, after) + gain * np.append(
            gaps, self.state.n + stop - 1 - (int(hits[-1]) if len(hits) else self.state.last)
        )
        over = np.flatnonzero(peaks >= goal)
        if not len(over):
            if len(hits):
                self.state.path, self.state.last = int(after[-1]), int(hits[-1])
            self.state.counted += len(hits)
            self._remember(values, places)
            self.latest[at:stop] = odd
            if not looks:
                return stop, None
            if few_known:
                since = max(1, self.state.n + stop - self.state.opened)
                self.state.share, self.state.path = max(1, _UNIT * _ENOUGH // since), 0
            return stop, self._continues(stop)
        k = int(over[0])
        path, last = (
            (int(after[k - 1]), int(hits[k - 1])) if k else (self.state.path, self.state.last)
        )
        end = last + -(-(goal - path) // gain) + 1 - self.state.n
        self.latest[at:end] = odd[: end - at]
        change = OutOfRangeChange(
            end,
            False,  # noqa: FBT003
            format_range(self._bounds.low, self._bounds.high),
            self.state.n + end - 1 - last,
            0,
            False,  # noqa: FBT003
        )
        self.reset()
        return end, change

    def reset(self) -> None:
        """End the episode, and forget earlier values."""
        self.state = OutOfRangeState(self.state.n)
        self._outside.forget()
        if self._repeated is not None:
            self._repeated.forget()

    def _remember(self, values: Floats, outside: Ints) -> None:
        if not len(outside):
            return
        self.state.recent += [
            (self.state.n + i, float(values[i])) for i in outside[-_RECENT:].tolist()
        ]
        del self.state.recent[:-_RECENT]

    def snapshot(self) -> OutOfRangeState:
        """The state, with that of the detectors."""
        return msgspec.structs.replace(
            self.state,
            outside=self._outside.snapshot(),
            repeated=None if self._repeated is None else self._repeated.snapshot(),
        )

    def restore(self, state: OutOfRangeState) -> None:
        """Continue from `snapshot`.  Raises ValueError where it does not fit the bounds."""
        if (state.repeated is None) != (self._repeated is None) or state.outside is None:
            raise ValueError("the state of a range rule does not fit the bounds")
        if state.is_open and not 0 < state.share <= _UNIT:
            raise ValueError("odd values without a share")
        self.state = msgspec.structs.replace(state, outside=None, repeated=None)
        self._outside.restore(state.outside)
        if self._repeated is not None and state.repeated is not None:
            self._repeated.restore(state.repeated)


def _next_look(counted: int) -> int:
    """The number of odd values at which the next change reports that they continue.

    >>> [_next_look(n) for n in (0, 15, 16, 40, 255, 256, 600)]
    [16, 16, 32, 64, 256, 512, 768]
    """
    if counted >= _LOOK:
        return (counted // _LOOK + 1) * _LOOK
    return max(_ENOUGH, 1 << counted.bit_length())


def _between(places: Ints, start: int, end: int) -> Ints:
    """Ascending positions from ``start`` to ``end``, relative to ``start``."""
    if not len(places):
        return places
    first, last = places.searchsorted([start, end])
    return places[first:last] - start


DERIVED_ARL0: Final = 10.0
"""Derived bounds use this small part of the budget, so that the other detectors keep theirs."""


def bounds_to_watch(reference: FeatureReference) -> ValueBounds | None:
    """Return the bounds of a feature; ``None`` if it has none.

    For a profile without bounds they are derived from its order statistics: a value that is not
    among m of them has come at most once in m events.
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
