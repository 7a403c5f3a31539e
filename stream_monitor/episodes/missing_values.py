"""Missing-value adjustment: the part of a change that newly invalid values explain.

Where one category is sent under another name, or large values are missing, the distribution of the
remaining values changes although the population does not.  The adjustment adds the invalid values
to the bins that miss most; only a difference that remains is a change of the valid values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from stream_monitor.episodes.bin_counts import no_events
from stream_monitor.episodes.policy import EpisodePolicy
from stream_monitor.reference.season import BinCalendar
from stream_monitor.statistics.distance import psi_adjusted
from stream_monitor.statistics.fixed_point import Bools, Ints


class InvalidEvents(NamedTuple):
    """The invalid events among n valid ones, in offset order.

    ``until`` (n + 1,) is how many of them come before the k-th valid event, for k from 1 on; its
    first item is 0.  ``times_ms`` are their event times.
    """

    until: Ints
    times_ms: Ints

    @classmethod
    def among(cls, valid: Bools, positions: Ints, times_ms: Ints) -> InvalidEvents:
        """Return the invalid events of a batch whose valid events have these ``positions``."""
        until = np.concatenate(([0], positions - np.arange(len(positions))))
        return cls(until, times_ms[~valid])

    def part(self, start: int, end: int) -> InvalidEvents:
        """The invalid events between the valid ones from ``start`` to ``end``."""
        last = len(self.until) - 1
        first = int(self.until[start])
        stop = len(self.times_ms) if end == last else int(self.until[end])
        return InvalidEvents(self.until[start : end + 1] - first, self.times_ms[first:stop])

    def restricted_to(self, kept: Bools) -> InvalidEvents:
        """The same invalid events, among the valid ones of ``kept`` (n,) only."""
        return InvalidEvents(np.concatenate(([0], self.until[1:][kept])), self.times_ms)


def fill_missing(counts: Sequence[int], expected: Sequence[int], n_more: int) -> list[int]:
    """Add ``n_more`` events of unknown bins to the bins that miss most of the expected counts.

    The bins that are lowest relative to the expected counts are filled to one level: no other way
    leaves a smaller distance.

    >>> fill_missing([50, 10, 40], [100, 100, 100], 20)
    [50, 30, 40]
    >>> fill_missing([0, 40, 40], [100, 100, 100], 70)
    [50, 50, 50]
    """
    have, share = np.array(counts, dtype=float), np.array(expected, dtype=float)
    known = np.flatnonzero(share)
    order = known[np.argsort(have[known] / share[known], kind="stable")]
    # The level of the k lowest bins when they take all, and that of the next one.
    levels = (n_more + np.cumsum(have[order])) / np.cumsum(share[order])
    following = np.append((have[order] / share[order])[1:], np.inf)
    level = levels[np.argmax(levels <= following)] if len(order) else 0.0
    filled: list[int] = np.rint(np.maximum(have, level * share)).astype(np.int64).tolist()
    return filled


class InvalidCounts(msgspec.Struct, array_like=True):
    """The invalid events since a suspicion, and how many lie in each slot of the calendar."""

    slots: Ints
    n: int = 0


class MissingValueAdjustment:
    """Compares the invalid events since a suspicion with the usual share of invalid ones."""

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
        n_slots = 0 if self._calendar is None else self._calendar.n_slots
        self.state = InvalidCounts(no_events(n_slots))

    def count(self, invalid: InvalidEvents, start: int, end: int | None) -> None:
        """Count those between the valid events from ``start`` to ``end``.

        ``None``: to the end of the batch, with those after its last valid event.
        """
        last = None if end is None else invalid.until[end]
        times_ms = invalid.times_ms[invalid.until[start] : last]
        self.state.n += len(times_ms)
        if self._calendar is not None and len(times_ms):
            slots = self._calendar.slots_of(times_ms)
            counted = np.bincount(slots, minlength=len(self.state.slots))
            self.state.slots = self.state.slots + counted

    def excess(self, n_valid: int) -> int:
        """Return how many invalid events exceed the usual number for ``n_valid`` valid ones.

        0 where the validity check would not count them as a change.
        """
        n = self.state.n
        if not n:
            return 0
        effect, p_value = psi_adjusted((n_valid, n), self._usual, 1.0)
        if p_value >= self._policy.significance or effect < self._policy.min_effect:
            return 0
        share = self._usual[1] / sum(self._usual)
        return max(0, round(n - share * (n_valid + n)))

    def least_distance(
        self, counts: Sequence[int], expected_at: Callable[[Ints], list[int]], tau: float
    ) -> tuple[float, float] | None:
        """Effect and p-value that remain of ``counts`` by bin after the adjustment.

        ``expected_at`` returns the expected counts when the events of these slots are counted too.
        ``None`` where there is no excess.
        """
        n_more = self.excess(sum(counts))
        if not n_more:
            return None
        expected = expected_at(self.state.slots)
        return psi_adjusted(fill_missing(counts, expected, n_more), expected, tau)

    def restore(self, state: InvalidCounts) -> None:
        """Continue from ``state``.  Raises ValueError where it does not fit the calendar."""
        n_slots = len(self.state.slots)
        counted = int(state.slots.sum()) if n_slots else state.n
        if state.n < 0 or len(state.slots) != n_slots or counted != state.n:
            raise ValueError("invalid events do not fit the calendar of the reference")
        self.state = state
