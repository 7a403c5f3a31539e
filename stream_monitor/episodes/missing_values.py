"""Missing-value adjustment: the part of a change that newly invalid values explain.

Where one category is sent under another name, or large values are missing, the distribution of the
remaining values changes although the population does not.  The adjustment adds the invalid values
to the bins that miss most; only a difference that remains is a change of the valid values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from stream_monitor.episodes.policy import EpisodePolicy
from stream_monitor.reference.season import BinCalendar
from stream_monitor.statistics.distance import psi_adjusted
from stream_monitor.statistics.fixed_point import Bools, Ints


class InvalidEvents(NamedTuple):
    """The invalid events among n valid ones, in log order.

    ``until`` (n + 1,) says how many of them come before the k-th valid event, for k from 1 on;
    its first place is 0.  ``times_ms`` are their event times.
    """

    until: Ints
    times_ms: Ints

    @classmethod
    def among(cls, valid: Bools, positions: Ints, times_ms: Ints) -> InvalidEvents:
        """Those of a batch whose valid events lie at ``positions``."""
        until = np.concatenate(([0], positions - np.arange(len(positions))))
        return cls(until, times_ms[~valid])

    def part(self, start: int, end: int) -> InvalidEvents:
        """Those that come with the valid events from start to end."""
        last = len(self.until) - 1
        first = int(self.until[start])
        stop = len(self.times_ms) if end == last else int(self.until[end])
        return InvalidEvents(self.until[start : end + 1] - first, self.times_ms[first:stop])

    def restricted_to(self, kept: Bools) -> InvalidEvents:
        """The same ones, where of the n valid events only those of ``kept`` (n,) are looked at."""
        return InvalidEvents(np.concatenate(([0], self.until[1:][kept])), self.times_ms)


def fill_missing(counts: Sequence[int], expected: Sequence[int], n_more: int) -> list[int]:
    """Events by bin, and ``n_more`` of unknown bins where most is missing of what is expected.

    The bins that are lowest, for what is expected, are filled to one level: no other way leaves
    less of a distance.

    >>> fill_missing([50, 10, 40], [100, 100, 100], 20)
    [50, 30, 40]
    >>> fill_missing([0, 40, 40], [100, 100, 100], 70)
    [50, 50, 50]
    """
    have, share = np.array(counts, dtype=float), np.array(expected, dtype=float)
    known = np.flatnonzero(share)
    order = known[np.argsort(have[known] / share[known], kind="stable")]
    # The level at which the k lowest bins stand when they take all, and that of the next one.
    levels = (n_more + np.cumsum(have[order])) / np.cumsum(share[order])
    following = np.append((have[order] / share[order])[1:], np.inf)
    level = levels[np.argmax(levels <= following)] if len(order) else 0.0
    filled: list[int] = np.rint(np.maximum(have, level * share)).astype(np.int64).tolist()
    return filled


class MissingValueAdjustment:
    """The invalid events since a suspicion, against how many of all are usual."""

    def __init__(
        self, usual: tuple[int, int], policy: EpisodePolicy, calendar: BinCalendar | None
    ) -> None:
        """``usual`` are the valid and the invalid events of the reference."""
        self._usual = usual
        self._policy = policy
        self._calendar = calendar
        self.clear()

    def clear(self) -> None:
        """Remove all counts."""
        self.n = 0
        self.slots = np.zeros(0 if self._calendar is None else self._calendar.n_slots, np.int64)

    def count(self, invalid: InvalidEvents, start: int, end: int | None) -> None:
        """Take those that come with the valid events from start to end.

        ``None``: to the end of the batch.  Those after its last valid event are then among them;
        the next one, wherever it is, comes after them.
        """
        last = None if end is None else invalid.until[end]
        times_ms = invalid.times_ms[invalid.until[start] : last]
        self.n += len(times_ms)
        if self._calendar is not None and len(times_ms):
            slots = self._calendar.slots_of(times_ms)
            self.slots += np.bincount(slots, minlength=len(self.slots))

    def excess(self, n_valid: int) -> int:
        """How many more than usual there are beside ``n_valid`` events.

        0 where the validity check would not count them as a change.
        """
        if not self.n:
            return 0
        effect, p_value = psi_adjusted((n_valid, self.n), self._usual, 1.0)
        if p_value >= self._policy.significance or effect < self._policy.min_effect:
            return 0
        share = self._usual[1] / sum(self._usual)
        return max(0, round(self.n - share * (n_valid + self.n)))

    def least_distance(
        self, counts: Sequence[int], expected_at: Callable[[Ints], list[int]], tau: float
    ) -> tuple[float, float] | None:
        """Effect and p-value that remain of ``counts`` by bin when the excess is given back.

        ``expected_at`` gives what is to be expected when these are counted too.  ``None`` where
        there is no excess.
        """
        n_more = self.excess(sum(counts))
        if not n_more:
            return None
        expected = expected_at(self.slots)
        return psi_adjusted(fill_missing(counts, expected, n_more), expected, tau)

    def snapshot(self) -> list[Any]:
        """The state as plain data."""
        return [self.n, self.slots.tolist() if self.n else []]

    def restore(self, data: Sequence[Any]) -> None:
        """Restore from `snapshot`.  Raises ValueError where it does not fit the calendar."""
        self.clear()
        n, slots = data
        known = len(self.slots) if n else 0
        if n < 0 or len(slots) != known or (slots and sum(slots) != n):
            raise ValueError("invalid events do not fit the calendar of the reference")
        self.n = n
        if slots:
            self.slots = np.array(slots, dtype=np.int64)
