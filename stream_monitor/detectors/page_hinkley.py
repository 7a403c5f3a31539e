"""Page-Hinkley over standardised block means: finds large and sudden changes.

Source: Page, "Continuous inspection schemes", Biometrika 41, 1954.  With alpha = 1 (no forgetting)
River's detector is the two-sided cumulative sum against its own running mean, which has a threshold
in closed form (`detectors.calibration`).  The allowance (River's delta), which it subtracts at each
step, is half of the change that it detects best.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import length_hint
from typing import Final, TypeAlias

import msgspec

from stream_monitor.detectors.detection import DetectorAlarm
from stream_monitor.state_parts import CorruptState

_MIN_INSTANCES: Final = 10
_MAX_INSTANCES: Final = 30
_Now: TypeAlias = tuple[float, float, float, float, float, float, bool, float, float]
"""The fields of `PageHinkleyState`; ``low`` is infinite in an empty detector."""
_EMPTY: Final[_Now] = (0.0, 0.0, 0.0, math.inf, 0.0, -1, False, 0.0, 0.0)  # -1 as in River


def min_instances(n_reference_blocks: int) -> int:
    """Return the number of block means, with those of the reference, before the first signal.

    A reference of few long blocks does not raise this number.

    >>> min_instances(0), min_instances(19), min_instances(1250)
    (10, 19, 30)
    """
    return min(_MAX_INSTANCES, max(_MIN_INSTANCES, n_reference_blocks))


class PageHinkleyState(msgspec.Struct, frozen=True, array_like=True):
    """The state of a Page-Hinkley detector.

    ``n`` block means of mean ``mean``; the two cumulative sums with their extremes, and the ``n``
    at which these were reached.  ``low`` is ``None`` in an empty detector, where it is infinite.
    """

    n: float
    mean: float
    up: float
    low: float | None
    down: float
    high: float
    flagged: bool
    low_at: float
    high_at: float


class PageHinkley:
    """River's Page-Hinkley, started with the mean and the weight of the reference."""

    __slots__ = ("_allowance", "_least", "_now", "_threshold")

    def __init__(self, threshold: float, allowance: float, n_reference_blocks: int) -> None:
        self._threshold, self._allowance = threshold, allowance
        self._least = min_instances(n_reference_blocks)
        # The state after `update(0.0)` once per block of the reference.
        self._now: _Now = _EMPTY
        if n_reference_blocks:
            n = float(n_reference_blocks)
            sum_ = allowance * n
            self._now = (n, 0.0, -sum_, -sum_, sum_, sum_, False, n, n)

    def observe(self, values: Sequence[float]) -> list[DetectorAlarm]:
        """Apply consecutive standardised block means.

        Equals River's ``update`` for each of them, bit by bit: the same recurrence, over local
        variables.  The onset is the last extreme of the cumulative sum that fired.
        """
        threshold, allowance, least = self._threshold, self._allowance, self._least
        n, mean, up, low, down, high, flagged, low_at, high_at = self._now
        alarms: list[DetectorAlarm] = []
        rest = iter(values)
        while length_hint(rest):
            if flagged:
                n, mean, up, low, down, high, flagged, low_at, high_at = _EMPTY
            for value in rest:
                n += 1.0
                mean += (1.0 / n) * (value - mean)
                deviation = value - mean
                up = up + deviation - allowance
                down = down + deviation + allowance
                if up < low:
                    low, low_at = up, n
                elif up - low > threshold and n >= least:
                    flagged = True
                if down > high:
                    high, high_at = down, n
                elif high - down > threshold and n >= least:
                    flagged = True
                if flagged:
                    rose = up - low >= high - down
                    began = low_at if rose else high_at
                    at = len(values) - length_hint(rest) - 1
                    alarms.append(
                        DetectorAlarm(at, "up" if rose else "down", max(0, int(n - began) - 1))
                    )
                    break
        self._now = (n, mean, up, low, down, high, flagged, low_at, high_at)
        return alarms

    def snapshot(self) -> PageHinkleyState:
        """The state; threshold and allowance belong to the settings."""
        n, mean, up, low, down, high, flagged, low_at, high_at = self._now
        least = None if math.isinf(low) else low
        counts = int(n), int(low_at), int(high_at)  # they take fewer bytes than floats
        return PageHinkleyState(
            counts[0], mean, up, least, down, high, flagged, counts[1], counts[2]
        )

    @classmethod
    def restore(
        cls, threshold: float, allowance: float, n_reference_blocks: int, state: PageHinkleyState
    ) -> PageHinkley:
        """Continue from `snapshot`.  Raises CorruptState where no detector can have that state."""
        _check(state)
        restored = cls(threshold, allowance, n_reference_blocks)
        n, mean, up, least, down, high, flagged, low_at, high_at = msgspec.structs.astuple(state)
        low = math.inf if least is None else least
        restored._now = (n, mean, up, low, down, high, flagged, low_at, high_at)
        return restored


def _check(state: PageHinkleyState) -> None:
    numbers = (state.n, state.mean, state.up, state.low or 0.0, state.down, state.high)
    if not all(map(math.isfinite, numbers)) or state.n != int(state.n):
        raise CorruptState("Page-Hinkley state: not finite, or not a count")
    if not (0 <= state.low_at <= state.n and 0 <= state.high_at <= state.n):
        raise CorruptState("Page-Hinkley state: impossible counts")
    if (state.low is None) != (state.n == 0):
        raise CorruptState("Page-Hinkley state: impossible counts")
    if state.low is not None and (state.up < state.low or state.down > state.high):
        raise CorruptState("Page-Hinkley state: the extremes are none")
