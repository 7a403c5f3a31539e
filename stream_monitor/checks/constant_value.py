"""The constant-value rule: detects a numeric feature that repeats one value.

The reference determines how long a value may repeat by chance: from how often a value that came
twice came a third time, and from its longest run.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import msgspec
import numpy as np

from stream_monitor.statistics.fixed_point import Floats

_LEAST_RUN: Final = 50
_LONGER: Final = 3  # times the longest run of the reference
_SAFETY: Final = 10.0  # a tenth of the false alarms of one detector


def run_limit(repeats: float, longest_run: int, arl0_events: float) -> int:
    """Return the run length that chance reaches less than once in ten ``arl0_events``.

    Where a value that came twice comes again with probability ``repeats``, a run of m values has a
    probability of at most ``repeats`` to the power of m - 2.

    >>> run_limit(0.0, 1, 1e8), run_limit(0.7, 20, 1e8), run_limit(0.7, 40, 1e8)
    (50, 61, 120)
    """
    chance = math.log(_SAFETY * arl0_events) / -math.log(repeats) + 2 if repeats > 0 else 0.0
    return max(_LEAST_RUN, _LONGER * longest_run, math.ceil(chance))


class ConstantValueChange(NamedTuple):
    """A change found after ``seen`` events of a batch: constant at ``value``, or varying again."""

    seen: int
    value: float
    n_events: int
    """The events of the run, or those since the values vary again."""
    broken: bool


class ConstantValueState(msgspec.Struct, array_like=True):
    """The present run of equal values.

    ``value`` is that of an open episode, and ``since`` the number of events since the run of it.
    Earlier releases stored fixed-point values: their run is counted from its next value.
    """

    last: float | None = None
    run: int = 0
    value: float | None = None
    since: int = 0


class ConstantValueRule:
    """Finds runs of ``limit_events`` equal values of one feature."""

    def __init__(self, limit_events: int) -> None:
        self.limit_events = limit_events
        self.state = ConstantValueState()

    @property
    def is_constant(self) -> bool:
        """Whether an episode is open."""
        return self.state.value is not None

    def observe(self, values: Floats) -> list[ConstantValueChange]:
        """Apply consecutive values as they were sent, shape (n,).

        Fixed-point values would not do: those far beyond the reference have one limit, and those
        that are small next to it become zero.
        """
        if not len(values):
            return []
        limit = self.limit_events
        carried = self.run_before(values)
        differs = values[1:] != values[:-1]
        if (
            self.state.value is None
            and carried + 1 < limit
            and np.count_nonzero(differs) == len(differs)
        ):  # the usual case: no value comes twice in succession
            self.state.last = float(values[-1])
            self.state.run = 1 if len(values) > 1 else carried + 1
            self.state.since = 0
            return []
        # Where runs begin; a run that continues from the last call began before the first value.
        begins = np.flatnonzero(differs) + 1
        starts = np.concatenate(([-carried], begins))
        ends = np.concatenate((begins, [len(values)]))
        runs = ends - starts
        changes: list[ConstantValueChange] = []
        if self.state.value is not None or int(runs.max()) >= limit:
            for i in np.flatnonzero(runs >= limit).tolist():
                start, end = int(starts[i]), int(ends[i])
                if start + limit > 0:  # else it was reported by an earlier call
                    self._end_if_varying(start + limit, values, changes)
                    self.state.value = float(values[end - 1])
                    changes.append(
                        ConstantValueChange(
                            start + limit, float(values[end - 1]), limit, broken=True
                        )
                    )
                self.state.since = -end
            self._end_if_varying(len(values), values, changes)
            is_open = self.state.value is not None
            self.state.since = self.state.since + len(values) if is_open else 0
        self.state.last, self.state.run = float(values[-1]), int(runs[-1])
        return changes

    def run_before(self, values: Floats) -> int:
        """The number of values that were observed last and equal the first of ``values``."""
        return self.state.run if len(values) and self.state.last == float(values[0]) else 0

    def _end_if_varying(
        self, until: int, values: Floats, changes: list[ConstantValueChange]
    ) -> None:
        """End the episode once ``limit_events`` events have come since its run."""
        if self.state.value is None or until + self.state.since < self.limit_events:
            return
        seen = self.limit_events - self.state.since
        changes.append(
            ConstantValueChange(seen, float(values[seen - 1]), self.limit_events, broken=False)
        )
        self.state.value = None

    def reset(self) -> None:
        """End the episode, and forget the present run."""
        self.state = ConstantValueState()

    def restore(self, state: ConstantValueState) -> None:
        """Continue from ``state``.  Raises ValueError where it is impossible."""
        if state.run < 0 or (state.last is None and state.run):
            raise ValueError("the stored run of a constant value is invalid")
        self.state = state
