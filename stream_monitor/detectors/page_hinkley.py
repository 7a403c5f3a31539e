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
from typing import Any, Final

import msgspec
from river import drift

from stream_monitor.detectors.detection import DetectorAlarm

_MIN_INSTANCES: Final = 10
_MAX_INSTANCES: Final = 30


def min_instances(n_reference_blocks: int) -> int:
    """How many block means, including those of the reference, it needs before it may signal.

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

    def __post_init__(self) -> None:
        numbers = (self.n, self.mean, self.up, self.low or 0.0, self.down, self.high)
        if not all(map(math.isfinite, numbers)) or self.n != int(self.n):
            raise ValueError("Page-Hinkley state: not finite, or not a count")
        if not (0 <= self.low_at <= self.n and 0 <= self.high_at <= self.n):
            raise ValueError("Page-Hinkley state: impossible counts")
        if (self.low is None) != (self.n == 0):
            raise ValueError("Page-Hinkley state: impossible counts")
        if self.low is not None and (self.up < self.low or self.down > self.high):
            raise ValueError("Page-Hinkley state: the extremes are none")


class PageHinkley:
    """River's Page-Hinkley, started with the mean and the weight of the reference."""

    __slots__ = ("_detector", "_high_at", "_low_at")

    def __init__(self, threshold: float, allowance: float, n_reference_blocks: int) -> None:
        detector: Any = drift.PageHinkley(
            min_instances=min_instances(n_reference_blocks),
            delta=allowance,
            threshold=threshold,
            alpha=1.0,
            mode="both",
        )
        self._detector = detector
        # The state after `update(0.0)` once per block of the reference.
        n = float(n_reference_blocks)
        detector._x_mean.n = n  # noqa: SLF001
        if n:
            detector._sum_increase = detector._min_increase = -allowance * n  # noqa: SLF001
            detector._sum_decrease = detector._max_decrease = allowance * n  # noqa: SLF001
        self._low_at: float = n
        self._high_at: float = n

    def observe(self, values: Sequence[float]) -> list[DetectorAlarm]:
        """Apply consecutive standardised block means.

        Equals River's ``update`` for each of them, bit by bit: the same recurrence, over local
        variables.  The onset is the last extreme of the cumulative sum that fired.
        """
        detector: Any = self._detector
        threshold, allowance = detector.threshold, detector.delta
        least = detector.min_instances
        mean_of = detector._x_mean  # noqa: SLF001
        n, mean = mean_of.n, mean_of._mean  # noqa: SLF001
        up, low = detector._sum_increase, detector._min_increase  # noqa: SLF001
        down, high = detector._sum_decrease, detector._max_decrease  # noqa: SLF001
        flagged = detector._drift_detected  # noqa: SLF001
        low_at, high_at = self._low_at, self._high_at
        alarms: list[DetectorAlarm] = []
        rest = iter(values)
        while length_hint(rest):
            if flagged:
                n = mean = up = down = low_at = high_at = 0.0
                low, high, flagged = math.inf, -1, False  # -1 as in River
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
        mean_of.n, mean_of._mean = n, mean  # noqa: SLF001
        detector._sum_increase, detector._min_increase = up, low  # noqa: SLF001
        detector._sum_decrease, detector._max_decrease = down, high  # noqa: SLF001
        detector._drift_detected = flagged  # noqa: SLF001
        self._low_at, self._high_at = low_at, high_at
        return alarms

    def snapshot(self) -> PageHinkleyState:
        """The state; threshold and allowance belong to the settings."""
        detector = self._detector
        low = detector._min_increase  # noqa: SLF001
        return PageHinkleyState(
            detector._x_mean.n,  # noqa: SLF001
            detector._x_mean._mean,  # noqa: SLF001
            detector._sum_increase,  # noqa: SLF001
            None if math.isinf(low) else low,
            detector._sum_decrease,  # noqa: SLF001
            detector._max_decrease,  # noqa: SLF001
            detector._drift_detected,  # noqa: SLF001
            self._low_at,
            self._high_at,
        )

    @classmethod
    def restore(
        cls, threshold: float, allowance: float, n_reference_blocks: int, state: PageHinkleyState
    ) -> PageHinkley:
        """Continue from `snapshot`."""
        restored = cls(threshold, allowance, n_reference_blocks)
        detector = restored._detector
        detector._x_mean.n, detector._x_mean._mean = state.n, state.mean  # noqa: SLF001
        detector._sum_increase, detector._sum_decrease = state.up, state.down  # noqa: SLF001
        detector._min_increase = math.inf if state.low is None else state.low  # noqa: SLF001
        detector._max_decrease = state.high  # noqa: SLF001
        detector._drift_detected = state.flagged  # noqa: SLF001
        restored._low_at, restored._high_at = state.low_at, state.high_at
        return restored
