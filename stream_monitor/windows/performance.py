"""Performance of the predictions of each window, as far as their labels have arrived.

A label may arrive long after the window of its prediction closed.  It changes the performance and
nothing else of the window, as long as the end of the window is less than the label horizon before
the latest label.  This is decided in offset order, label by label.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from stream_monitor.state_parts import StoredParts

_NEVER: Final = -1  # event time is not negative
_CHUNK_WINDOWS: Final = 64
_MOST: Final = sys.float_info.max
_AT_ONCE: Final = 256
"""The most windows whose performance is published with one batch: bounds the outbox."""
_CLOCK: Final = "clock"


class WindowPerformance(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The mean loss of ``n_labelled`` predictions of a window, as it is stored in Redis.

    ``loss`` is the share of wrong predictions, or the mean absolute error of a regression.
    Predictions that were too late for the window's other statistics count here.  The performance
    with the highest ``as_of_offset`` is the latest.
    """

    model: str
    version: str
    start_ms: int
    end_ms: int
    n_labelled: int
    loss: float
    as_of_offset: int
    partition: int = 0
    shadow: bool = False


def performance_key(prefix: str, window_key: str) -> str:
    """The Redis key of the performance of a window, from the key of the window.

    >>> performance_key("driftline", "driftline:window:flights@3/3600000/0")
    'driftline:performance:flights@3/3600000/0'
    """
    return f"{prefix}:performance:{window_key.removeprefix(f'{prefix}:window:')}"


class PerformanceTracker:
    """Number and sum of the known losses, by window, of one model version."""

    def __init__(self, size_ms: int, horizon_ms: int) -> None:
        self._size_ms, self._horizon_ms = size_ms, horizon_ms
        self._clock_ms = _NEVER  # of the latest label
        self._sums: dict[int, tuple[int, float]] = {}
        self._changed: set[int] = set()
        self._has_changes: set[int] = set()
        self._clock_changed = False

    def observe(self, rows: Iterable[tuple[int, int, float]]) -> None:
        """Apply labels in offset order: event time (ms), label delay (ms), loss (not negative)."""
        clock_ms = self._clock_ms
        for time_ms, delay_ms, loss in rows:
            clock_ms = max(clock_ms, time_ms + delay_ms)
            start = time_ms - time_ms % self._size_ms
            if self._is_over(start, clock_ms):
                continue
            n, total = self._sums.get(start, (0, 0.0))
            self._sums[start] = n + 1, min(_MOST, total + loss)
            self._changed.add(start)
            self._has_changes.add(self._chunk(start))
        if clock_ms // self._size_ms != self._clock_ms // self._size_ms:
            for start in [start for start in self._sums if self._is_over(start, clock_ms)]:
                del self._sums[start]
                self._has_changes.add(self._chunk(start))
            self._changed &= self._sums.keys()
        self._clock_changed |= clock_ms != self._clock_ms
        self._clock_ms = clock_ms

    def _is_over(self, start: int, clock_ms: int) -> bool:
        return start + self._size_ms + self._horizon_ms <= clock_ms

    def _chunk(self, start: int) -> int:
        return start // self._size_ms // _CHUNK_WINDOWS

    def take_changed(self) -> list[tuple[int, int, float]]:
        """Start (ms), number and mean loss of windows that changed since the last call, in order.

        At most `_AT_ONCE`; the others follow with the next call.  After `restore` all windows count
        as changed, because it is unknown which were published.
        """
        starts = sorted(self._changed)[:_AT_ONCE]
        self._changed.difference_update(starts)
        sums = [(start, *self._sums[start]) for start in starts]
        return [(start, n, total / n) for start, n, total in sums]

    def take_changes(self) -> dict[str, Any]:
        """The parts that changed since the last call; ``None`` is a part that was deleted."""
        if not self._has_changes and not self._clock_changed:
            return {}
        chunks: dict[int, list[tuple[int, int, float]]] = {x: [] for x in sorted(self._has_changes)}
        for start in sorted(self._sums):
            if (chunk := self._chunk(start)) in chunks:
                chunks[chunk].append((start, *self._sums[start]))
        self._has_changes.clear()
        self._clock_changed = False
        return {_CLOCK: self._clock_ms} | {
            str(chunk): rows or None for chunk, rows in chunks.items()
        }

    def restore(self, parts: StoredParts) -> None:
        """Continue from the parts, if any.  Raises ValueError where one does not fit."""
        if _CLOCK not in parts:
            return
        self._clock_ms = parts.read(_CLOCK, int)
        for name in parts:
            if name == _CLOCK:
                continue
            for start, n, total in parts.read(name, list[tuple[int, int, float]]):
                if start % self._size_ms or n < 1 or not 0 <= total <= _MOST:
                    raise ValueError(f"window {start}: impossible losses: {total} of {n} labels")
                self._sums[start] = n, total
        self._changed = set(self._sums)
