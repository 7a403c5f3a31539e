"""Tumbling windows in event time, of one model version.

The watermark is the largest event time so far.  A window [start, end) closes at the first record
at which the watermark reaches end + grace; an event is late if its window had closed before it.
So every event is in exactly one window or late, and a closed window never reopens.  Both rules are
evaluated per record and the statistics are added per batch, so results do not depend on batches.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
import numpy as np

from stream_monitor.ingest.batch import Bools, Ints
from stream_monitor.reference.profile import ReferenceProfile
from stream_monitor.reference.transform import BinTable, Transformed, bin_table
from stream_monitor.state_parts import StoredParts, with_prefix
from stream_monitor.windows.closed_window import ClosedWindow
from stream_monitor.windows.feature_statistics import expected_sums, statistics_of
from stream_monitor.windows.open_window import OpenWindow
from stream_monitor.windows.performance import PerformanceTracker


class WindowSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Tumbling windows in event time, aligned to the Unix epoch, half-open: [start, end).

    A window closes once the watermark has passed its end by ``grace_ms``.  If the version has no
    event for ``idle_close_ms`` of the append clock, that clock may close it instead of the
    watermark.  ``max_open`` bounds the memory.  Raises ValueError where the grace keeps more open.
    """

    size_ms: int = 3_600_000
    grace_ms: int = 300_000
    idle_close_ms: int = 60_000
    max_open: int = 48

    def __post_init__(self) -> None:
        if self.size_ms < 1 or self.grace_ms < 0 or self.idle_close_ms < 1:
            raise ValueError("windows: size and idle_close must be positive, grace not negative")
        if self.most_open > self.max_open:
            raise ValueError(
                f"windows: a grace of {self.grace_ms} ms keeps {self.most_open} windows of "
                f"{self.size_ms} ms open; make them longer, or raise max_open ({self.max_open})"
            )

    @property
    def most_open(self) -> int:
        """The largest number of open windows: those that start in (watermark - lag, watermark].

        >>> WindowSpec(size_ms=60_000, grace_ms=300_000).most_open
        6
        """
        return 1 + -(-self.grace_ms // self.size_ms)


_NEVER: Final = -1  # event time is not negative
_META: Final = "meta"
_OPEN: Final = "open|"
_PERFORMANCE: Final = "performance|"


class WindowsState(msgspec.Struct, array_like=True):
    """The state of `TumblingWindows` but for the open windows.

    ``closed_through_ms`` is the start of the last window that was closed by idleness.
    """

    watermark_ms: int = _NEVER
    late: int = 0
    closed_through_ms: int = _NEVER


class TumblingWindows:
    """The open windows of one (model, version), and the performance of the closed ones."""

    def __init__(
        self,
        spec: WindowSpec,
        profile: ReferenceProfile,
        partition: int = 0,
        label_horizon_ms: int = 0,
    ) -> None:
        self.spec, self.profile = spec, profile
        self.performance = PerformanceTracker(spec.size_ms, label_horizon_ms)
        self.watermark_ms = _NEVER
        self.late = 0
        self._partition = partition
        self._lag_ms = spec.size_ms + spec.grace_ms
        self._closed_through_ms = _NEVER  # start of the last window closed by idleness
        self._open: dict[int, OpenWindow] = {}
        self._bins: dict[str, BinTable] = {
            name: bin_table(reference) for name, reference in profile.features.items()
        }
        self._n_bins = {
            name: len(reference.bin_counts) for name, reference in profile.features.items()
        }
        self._has_changes: set[int] = set()
        self._meta_changed = True

    def observe(
        self,
        offsets: Ints,
        times_ms: Ints,
        transformed: Mapping[str, Transformed],
        losses: Ints | None = None,
    ) -> list[ClosedWindow]:
        """Apply n consecutive events of this version; returns the closed windows, oldest first.

        ``transformed`` has every feature of the profile.  Event times are not negative.  ``losses``
        (n,) are the expected losses in fixed point, -1 where unknown.
        """
        if not len(offsets):
            return []
        starts = times_ms - times_ms % self.spec.size_ms
        reached = np.maximum(np.maximum.accumulate(times_ms), self.watermark_ms)
        # The watermark before and after an event give the same result: it is in its own window.
        late = (starts <= reached - self._lag_ms) | (starts <= self._closed_through_ms)
        self._add(offsets, starts, late, transformed, losses)
        return self._advance(offsets, reached)

    def _add(
        self,
        offsets: Ints,
        starts: Ints,
        late: Bools,
        transformed: Mapping[str, Transformed],
        losses: Ints | None,
    ) -> None:
        """Add every event to its window.  Late events form a last group, which is dropped."""
        any_late = bool(late.any())
        if not any_late and starts[0] == starts[-1] and bool((starts == starts[0]).all()):
            window_starts, groups = [int(starts[0])], np.zeros(len(starts), dtype=np.int64)
        else:
            unique, groups = np.unique(
                np.where(late, np.iinfo(np.int64).max, starts), return_inverse=True
            )
            window_starts = unique.tolist()
        n_groups = len(window_starts)
        sizes = np.bincount(groups, minlength=n_groups)
        by_group = offsets if n_groups == 1 else offsets[np.argsort(groups, kind="stable")]
        ends = np.cumsum(sizes)
        features = {
            name: statistics_of(
                transformed[name], self._bins[name], self._n_bins[name], groups, n_groups
            )
            for name in self._bins
        }
        estimates = expected_sums(losses, groups, n_groups)
        if any_late:
            self.late += int(sizes[-1])
            n_groups -= 1
        for i in range(n_groups):
            part = OpenWindow(
                start_ms=window_starts[i],
                first_offset=int(by_group[ends[i] - sizes[i]]),
                last_offset=int(by_group[ends[i] - 1]),
                n_events=int(sizes[i]),
                features={name: groups_of[i] for name, groups_of in features.items()},
                n_estimated=estimates[i][0],
                expected_total=estimates[i][1],
            )
            known = self._open.setdefault(part.start_ms, part)
            if known is not part:
                known.merge(part)
            self._has_changes.add(part.start_ms)
        self._meta_changed = True

    def _advance(self, offsets: Ints, reached: Ints) -> list[ClosedWindow]:
        """Close the windows that the watermark has passed, each at the record that passed it."""
        self.watermark_ms = int(reached[-1])
        due = [start for start in self._open if start <= self.watermark_ms - self._lag_ms]
        return [
            self._close(start, int(offsets[np.searchsorted(reached, start + self._lag_ms)]))
            for start in sorted(due)
        ]

    def idle_due_ms(self, last_append_ms: int) -> int | None:
        """Append clock (ms) at which idleness may close the next window; ``None`` if none is open.

        ``last_append_ms`` is the append clock at the last event of this version.  At the first
        record that reaches the result, call `close_idle`.
        """
        if not self._open:
            return None
        return max(last_append_ms + self.spec.idle_close_ms, min(self._open) + self._lag_ms)

    def close_all_idle(
        self, last_append_ms: int, clock_ms: Ints, offsets: Ints
    ) -> list[ClosedWindow]:
        """Close idle windows among n records, each at the first record at which it is due.

        ``clock_ms`` and ``offsets`` (n,) are those of the records since the last event.
        """
        closed: list[ClosedWindow] = []
        while (due_ms := self.idle_due_ms(last_append_ms)) is not None:
            i = int(np.searchsorted(clock_ms, due_ms))
            if i == len(clock_ms):
                break
            closed += self.close_idle(int(clock_ms[i]), int(offsets[i]))
        return closed

    def close_idle(self, append_clock_ms: int, offset: int) -> list[ClosedWindow]:
        """Close the windows of an idle version that the append clock has passed by the grace.

        `idle_due_ms` was reached at the record at ``offset``.  A window that is not over stays
        open, so a slow version loses no events.
        """
        due = sorted(start for start in self._open if start <= append_clock_ms - self._lag_ms)
        if due:
            self._closed_through_ms = max(self._closed_through_ms, due[-1])
            self._meta_changed = True
        return [self._close(start, offset) for start in due]

    def _close(self, start: int, offset: int) -> ClosedWindow:
        self._has_changes.add(start)
        window = self._open.pop(start)
        return window.close(self.profile, self.spec.size_ms, offset, self._partition)

    def take_changes(self) -> dict[str, Any]:
        """The parts that changed since the last call; ``None`` is a part that was deleted."""
        parts: dict[str, Any] = {}
        if self._meta_changed:
            parts[_META] = WindowsState(self.watermark_ms, self.late, self._closed_through_ms)
        for start in sorted(self._has_changes):
            parts[f"{_OPEN}{start}"] = self._open.get(start)
        self._has_changes.clear()
        self._meta_changed = False
        return parts | with_prefix(_PERFORMANCE, self.performance.take_changes())

    def restore(self, parts: StoredParts) -> None:
        """Continue from the parts.  Raises ValueError where one is missing or does not fit."""
        state = parts.read(_META, WindowsState)
        self.watermark_ms, self.late = state.watermark_ms, state.late
        self._closed_through_ms = state.closed_through_ms
        stored = parts.under(_OPEN)
        self._open = {int(start): stored.read(start, OpenWindow) for start in stored}
        for start, window in self._open.items():
            if window.start_ms != start:
                raise ValueError(f"window {start}: stored under another name")
            window.require_fit(self.spec.size_ms, self._n_bins)
        self.performance.restore(parts.under(_PERFORMANCE))
        self._has_changes.clear()
        self._meta_changed = False
