"""The constant rule: a numeric feature that is stuck at one value.

How long a value may repeat by chance follows from the reference: it says how often a value that
came twice came again, and what the longest run was.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from stream_monitor.statistics.fixed_point import Ints

_LEAST_RUN: Final = 50
_LONGER: Final = 3  # than the longest run of the reference
_SAFETY: Final = 10.0  # a tenth of a detector's false alarms


def run_limit(repeats: float, longest_run: int, arl0_events: float) -> int:
    """The run at which chance is no explanation: less than one in ten ``arl0_events``.

    A run of m comes about with probability ``repeats`` to the power of m - 2, at most, where
    a value that came twice comes again with probability ``repeats``.

    >>> run_limit(0.0, 1, 1e8), run_limit(0.7, 20, 1e8), run_limit(0.7, 40, 1e8)
    (50, 61, 120)
    """
    chance = math.log(_SAFETY * arl0_events) / -math.log(repeats) + 2 if repeats > 0 else 0.0
    return max(_LEAST_RUN, _LONGER * longest_run, math.ceil(chance))


class ConstantValueChange(NamedTuple):
    """After ``seen`` events of the batch the feature is stuck at ``value``, or moves again."""

    seen: int
    value: int
    n_events: int
    """Of the run; or how many events it has been moving."""
    broken: bool


class ConstantValueRule:
    """The run of equal fixed-point values that a feature is in; exact under any cut."""

    def __init__(self, limit_events: int) -> None:
        self.limit_events = limit_events
        self._last: int | None = None
        self._run = 0
        self.stuck_at: int | None = None
        self._since = 0  # events since it was last stuck

    def observe(self, values: Ints) -> list[ConstantValueChange]:
        """Take consecutive fixed-point values, shape (n,)."""
        if not len(values):
            return []
        limit = self.limit_events
        # Where runs begin; one that goes on from the last call began before the first value.
        begins = np.flatnonzero(values[1:] != values[:-1]) + 1
        carried = self._run if self._last == int(values[0]) else 0
        starts = np.concatenate(([-carried], begins))
        ends = np.concatenate((begins, [len(values)]))
        runs = ends - starts
        changes: list[ConstantValueChange] = []
        if self.stuck_at is not None or int(runs.max()) >= limit:
            for i in np.flatnonzero(runs >= limit).tolist():
                start, end = int(starts[i]), int(ends[i])
                if start + limit > 0:  # else it was stuck there already
                    self._move_on(start + limit, values, changes)
                    self.stuck_at = int(values[end - 1])
                    changes.append(
                        ConstantValueChange(start + limit, self.stuck_at, limit, broken=True)
                    )
                self._since = -end
            self._move_on(len(values), values, changes)
            self._since += len(values)
        self._last, self._run = int(values[-1]), int(runs[-1])
        return changes

    def _move_on(self, until: int, values: Ints, changes: list[ConstantValueChange]) -> None:
        """It is over once as many events as prove it have come since."""
        if self.stuck_at is None or until + self._since < self.limit_events:
            return
        seen = self.limit_events - self._since
        changes.append(
            ConstantValueChange(seen, int(values[seen - 1]), self.limit_events, broken=False)
        )
        self.stuck_at = None

    def reset(self) -> None:
        """It is over because somebody says so; what lies behind proves nothing."""
        self.stuck_at, self._last, self._run, self._since = None, None, 0, 0

    def snapshot(self) -> list[Any]:
        """The state as plain data."""
        since = 0 if self.stuck_at is None else self._since
        return [self._last, self._run, self.stuck_at, since]

    def restore(self, data: Sequence[Any]) -> None:
        """Restore from `snapshot`.  Raises ValueError on what no snapshot holds."""
        last, run, stuck_at, since = data
        if run < 0 or since < 0 or (last is None and run):
            raise ValueError("impossible run of a constant")
        self._last, self._run, self.stuck_at, self._since = last, run, stuck_at, since
