"""ADWIN over standardised block means: finds small and slow changes.

Source: Bifet and Gavalda, "Learning from time-changing data with adaptive windowing", 2007.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from operator import add, length_hint
from typing import Any

from stream_monitor.detectors.adwin_state import (
    AdwinState,
    bucket_totals,
    build,
    check,
    compact,
    dump,
    expand,
    new,
)
from stream_monitor.detectors.detection import DetectorAlarm
from stream_monitor.detectors.river_adwin import ADWIN
from stream_monitor.state_parts import CorruptState


class Adwin:
    """River's ADWIN, started with the reference; after a change it learns the new level.

    River's object is made at the first value: until then a state costs no more than its bytes.
    """

    __slots__ = ("_delta", "_now")

    def __init__(self, state: AdwinState, delta: float) -> None:
        """Continue from a valid state."""
        self._now: AdwinState | ADWIN = state
        self._delta = delta

    @classmethod
    def primed(cls, reference: AdwinState | None, delta: float, clock: int) -> Adwin:
        """Return a detector that starts from the reference; empty if that is not stationary."""
        return cls(dump(new(delta, clock)) if reference is None else reference, delta)

    def observe(self, values: Sequence[float]) -> list[DetectorAlarm]:
        """Take consecutive block means, in the scale ADWIN was calibrated for.

        Equals River's ``update`` for each of them.  The Rust object is called directly: River's
        wrapper costs more than the algorithm.
        """
        if isinstance(self._now, AdwinState):
            self._now = build(self._now, self._delta)
        adwin: Any = self._now
        alarms: list[DetectorAlarm] = []
        rest = iter(values)
        while left := length_hint(rest):
            if adwin._drift_detected:  # noqa: SLF001
                adwin._reset()  # noqa: SLF001 - as River's own update does after a detection
            helper = adwin._helper  # noqa: SLF001
            total, width = helper.get_total(), int(helper.get_width())
            adwin._drift_detected = any(map(helper.update, rest))  # noqa: SLF001 - until one fires
            if adwin._drift_detected:  # noqa: SLF001
                start, end = len(values) - left, len(values) - length_hint(rest)
                total = reduce(add, values[start:end], total)
                alarms.append(self._alarm(end - 1, total, width + end - start))
        return alarms

    def _alarm(self, block: int, total: float, width: int) -> DetectorAlarm:
        """Direction and onset: the split of the window that explains most of the variance.

        ``total`` and ``width`` are those of the window before the cut.  The dropped part is one
        piece; the others are the buckets of the window, which are smaller the more recent they are.
        """
        buckets = bucket_totals(self._state())
        dropped = width - sum(size for _, size in buckets)
        if dropped:
            buckets.insert(0, (total - math.fsum(t for t, _ in buckets), dropped))
        best_gain, rose, onset = -1.0, True, 0
        old, n_old = 0.0, 0
        for bucket_total, size in buckets[:-1]:
            old += bucket_total
            n_old += size
            n_new = width - n_old
            step = (total - old) / n_new - old / n_old
            gain = step * step * n_old * n_new
            if gain > best_gain:
                best_gain, rose, onset = gain, step > 0, n_new - 1
        return DetectorAlarm(block, "up" if rose else "down", onset)

    def _state(self) -> AdwinState:
        return self._now if isinstance(self._now, AdwinState) else dump(self._now)

    def snapshot(self) -> AdwinState:
        """The state as it is stored; delta belongs to the settings."""
        return compact(self._state())

    @classmethod
    def restore(cls, delta: float, clock: int, state: AdwinState) -> Adwin:
        """Continue from `snapshot`.  Raises CorruptState where no ADWIN can have that state."""
        if state.clock != clock:
            raise CorruptState("ADWIN state: the clock is another one")
        state = expand(state)
        check(state)
        return cls(state, delta)
