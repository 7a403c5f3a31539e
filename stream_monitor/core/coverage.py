"""Coverage: counts a model's events of the last hour that were watched, and why others were not.

Every accepted inference event is counted exactly once: as `WATCHED`, if it was compared with a
reference, or under one `CoverageReason` of unit ``event``.  Reasons of unit ``feature``, ``label``
and ``record`` are counted in addition and are no part of that sum.

::

    count(...) for a micro-batch ──► observe(offsets, clock) ──► counts of the open interval
    a record after the interval ──► the interval closes ──► buckets of the last hour, totals

Only the append clock closes an interval, so the counts do not depend on batches.  Memory is bounded
whatever names a producer makes up: the most frequent versions and features of a model keep a row of
their own, the others share the row of `OTHERS`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import msgspec
import numpy as np

from stream_monitor.contracts import COVERAGE_UNITS, CoverageReason
from stream_monitor.episodes.finding import EventPosition
from stream_monitor.ingest.batch import Ints
from stream_monitor.state_parts import StoredParts

WATCHED: Final = "watched"
"""The outcome of events that were compared with a reference."""
CoverageOutcome: TypeAlias = Literal["watched"] | CoverageReason
OTHERS: Final = ""
"""The version, or feature, of the row that all others share."""

INTERVAL_MS: Final = 30_000
"""Length of an interval of the append clock; episodes are updated at its end."""
BUCKET_MS: Final = 5 * 60_000
HOUR_BUCKETS: Final = 12
"""Buckets of the last hour, the present one included."""
MAX_ROWS: Final = 64
_MAX_NOW: Final = 2 * MAX_ROWS


class CoverageKey(NamedTuple):
    """The key of a row.  ``feature`` is empty unless the reason counts features."""

    version: str
    reason: CoverageOutcome
    feature: str = ""

    @property
    def others(self) -> CoverageKey:
        """The key of the shared row, which counts keys without a row of their own."""
        return CoverageKey(self.version if self.feature else OTHERS, self.reason, OTHERS)


class CoverageCount(NamedTuple):
    """The count of one key in one interval, with its first and last record."""

    n: int
    first: EventPosition
    last_clock_ms: int

    def then(self, later: CoverageCount) -> CoverageCount:
        """Return the sum of this count and a ``later`` one."""
        last_clock_ms = max(self.last_clock_ms, later.last_clock_ms)
        return self._replace(n=self.n + later.n, last_clock_ms=last_clock_ms)


class ClosedInterval(NamedTuple):
    """A closed interval: its counts, and the record that closed it.

    ``time_ms`` is the event time at that record: the latest one of a counted event plus the
    append-clock time since.
    """

    counts: dict[CoverageKey, CoverageCount]
    offset: int
    clock_ms: int
    time_ms: int


class CoverageRow(NamedTuple):
    """One row of the last hour; ``total`` is since the beginning of the partition."""

    key: CoverageKey
    last_hour: int
    total: int


class _Row(msgspec.Struct, array_like=True):
    total: int = 0
    buckets: dict[int, int] = msgspec.field(default_factory=dict)

    def add(self, bucket: int, n: int) -> None:
        self.total += n
        self.buckets[bucket] = self.buckets.get(bucket, 0) + n
        oldest = bucket - HOUR_BUCKETS
        for old in [b for b in self.buckets if b <= oldest]:
            del self.buckets[old]

    def absorb(self, other: _Row) -> None:
        self.total += other.total
        for bucket, n in other.buckets.items():
            self.buckets[bucket] = self.buckets.get(bucket, 0) + n

    def last_hour(self, bucket: int) -> int:
        return sum(n for b, n in self.buckets.items() if b > bucket - HOUR_BUCKETS)


class OpenInterval(msgspec.Struct, array_like=True):
    """The interval that is not closed, with its counts.

    ``latest`` is the event time of the latest event, and the append clock there.
    """

    number: int = 0
    latest: tuple[int, int] = (0, 0)
    counts: dict[CoverageKey, CoverageCount] = msgspec.field(default_factory=dict)


class _Pending(NamedTuple):
    key: CoverageKey
    offsets: Ints
    times_ms: Ints


class Coverage:
    """The counts of one model in one partition, or of all models over the limit."""

    def __init__(self) -> None:
        self._rows: dict[CoverageKey, _Row] = {}
        self._open = OpenInterval()
        self._pending: list[_Pending] = []
        self.waits = False
        self._has_changes = self._closed = False

    def __bool__(self) -> bool:
        """Whether anything was counted."""
        return bool(self._rows or self._open.counts)

    def count(
        self,
        version: str,
        reason: CoverageOutcome,
        offsets: Ints,
        times_ms: Ints,
        feature: str = "",
    ) -> None:
        """Count records (n,) of the present micro-batch, with their event times (ms).

        Call it before `observe`, once for all events of a batch that share an outcome.  Each
        accepted event has exactly one outcome of unit ``event`` (or `WATCHED`).  A reason of unit
        ``feature`` names the ``feature``; ``version`` is empty where the reason concerns none.
        """
        if len(offsets):
            self._pending.append(_Pending(CoverageKey(version, reason, feature), offsets, times_ms))

    def count_at(
        self, version: str, reason: CoverageOutcome, offset: int, time_ms: int, clock_ms: int
    ) -> None:
        """Count one control record, which is applied after its micro-batch was observed.

        This closes no interval; the next record that `observe` receives does.
        """
        interval = clock_ms // INTERVAL_MS
        if not self._open.counts:
            self._open.number = interval
        self._enter(
            CoverageKey(version, reason), CoverageCount(1, EventPosition(offset, time_ms), clock_ms)
        )
        self._has_changes = True

    def observe(self, offsets: Ints, clock_ms: Ints) -> Iterator[ClosedInterval]:
        """Apply the records (n,) of a micro-batch, with the append clock (ms) at each.

        Yields the closed intervals; evaluate each before taking the next.  While `waits` is set,
        intervals without counts are yielded too.
        """
        pending = self._pending
        if not (pending or self._open.counts or self.waits):
            return
        self._pending = []
        edges = []
        first = int(clock_ms[0]) // INTERVAL_MS
        if (self._open.counts or self.waits) and first != self._open.number:
            edges.append(0)
        if int(clock_ms[-1]) // INTERVAL_MS != first:
            edges += (np.flatnonzero(np.diff(clock_ms // INTERVAL_MS)) + 1).tolist()
        start = 0
        for edge in edges:
            self._add(pending, offsets, clock_ms, start, edge)
            if self._open.counts or self.waits:
                yield self._close(int(offsets[edge]), int(clock_ms[edge]))
            start = edge
        self._add(pending, offsets, clock_ms, start, len(offsets))

    def _add(
        self, pending: Sequence[_Pending], offsets: Ints, clock_ms: Ints, start: int, end: int
    ) -> None:
        """Add the pending counts of the records from ``start`` to before ``end``."""
        if start == end or not pending:
            return
        low, high = int(offsets[start]), int(offsets[end - 1])
        found: list[tuple[int, CoverageKey, CoverageCount]] = []
        latest_ms = self._open.latest[0]
        for key, of, times_ms in pending:
            a, b = of.searchsorted((low, high + 1)).tolist()
            if a == b:
                continue
            last_clock = int(clock_ms[offsets.searchsorted(of[b - 1])])
            first = EventPosition(int(of[a]), int(times_ms[a]))
            found.append((first.offset, key, CoverageCount(b - a, first, last_clock)))
            latest_ms = max(latest_ms, int(times_ms[a:b].max()))
        if not found:
            return
        self._open.number = int(clock_ms[start]) // INTERVAL_MS
        for _, key, counted in sorted(found):  # in offset order
            self._enter(key, counted)
        self._open.latest = latest_ms, max(counted.last_clock_ms for *_, counted in found)
        self._has_changes = True

    def _enter(self, key: CoverageKey, counted: CoverageCount) -> None:
        while (
            key not in self._open.counts
            and key not in self._rows
            and len(self._open.counts) >= _MAX_NOW
        ):
            if key == key.others:
                break
            key = key.others
        before = self._open.counts.get(key)
        self._open.counts[key] = counted if before is None else before.then(counted)

    def _close(self, offset: int, clock_ms: int) -> ClosedInterval:
        """Close the interval at the record at ``offset``, the first one after it."""
        bucket = self._open.number * INTERVAL_MS // BUCKET_MS
        for key, counted in self._open.counts.items():
            self._rows.setdefault(key, _Row()).add(bucket, counted.n)
        self._merge_rare_rows(bucket)
        interval = ClosedInterval(self._open.counts, offset, clock_ms, self.time_at(clock_ms))
        self._closed = self._closed or bool(self._open.counts)
        self._open.number, self._open.counts, self._has_changes = clock_ms // INTERVAL_MS, {}, True
        return interval

    def _merge_rare_rows(self, bucket: int) -> None:
        """Merge the least frequent rows into the shared row where there are too many."""
        if len(self._rows) <= MAX_ROWS:
            return
        own = [key for key in self._rows if key != key.others]
        own.sort(key=lambda key: (key.reason == WATCHED, self._rows[key].last_hour(bucket), key))
        for key in own:
            if len(self._rows) <= MAX_ROWS:
                break
            row = self._rows.pop(key)
            self._rows.setdefault(key.others, _Row()).absorb(row)

    def absorb(self, gone: Coverage) -> None:
        """Add the counts of a removed model to the shared rows."""
        bucket = gone._open.number * INTERVAL_MS // BUCKET_MS
        for key, row in gone._rows.items():
            self._rows.setdefault(CoverageKey(OTHERS, key.reason), _Row()).absorb(row)
        for key, counted in gone._open.counts.items():
            self._rows.setdefault(CoverageKey(OTHERS, key.reason), _Row()).add(bucket, counted.n)
        self._closed = self._closed or bool(gone)

    def time_at(self, clock_ms: int) -> int:
        """Event time (ms): the latest one of a counted event plus the append-clock time since."""
        latest_ms, latest_clock_ms = self._open.latest
        return latest_ms + max(0, clock_ms - latest_clock_ms)

    def last_hour(self, clock_ms: int) -> list[CoverageRow]:
        """The counts of the last hour (55 to 60 minutes) of the append clock.

        The most frequent rows come first; the open interval is included.
        """
        bucket = clock_ms // BUCKET_MS
        found: list[CoverageRow] = []
        for key in self._rows.keys() | self._open.counts.keys():
            row, counted = self._rows.get(key), self._open.counts.get(key)
            hour, total = (0, 0) if row is None else (row.last_hour(bucket), row.total)
            now = 0 if counted is None else counted.n
            recent = (
                now if self._open.number * INTERVAL_MS // BUCKET_MS > bucket - HOUR_BUCKETS else 0
            )
            found.append(CoverageRow(key, hour + recent, total + now))
        return sorted(found, key=lambda row: (-row.last_hour, -row.total, row.key))

    def take_changes(self) -> dict[str, Any]:
        """The parts that changed since the last call: the open interval, and the hour's rows."""
        parts: dict[str, Any] = {}
        if self._has_changes:
            parts["now"] = self._open
        if self._closed:
            parts["hour"] = {
                key: _Row(row.total, dict(sorted(row.buckets.items())))
                for key, row in sorted(self._rows.items())
            }
        self._has_changes = self._closed = False
        return parts

    def restore(self, parts: StoredParts) -> None:
        """Continue from the parts; without any, counting starts.

        Raises:
            ValueError: the parts do not fit.
        """
        if "now" in parts:
            self._open = parts.read("now", OpenInterval)
        if "hour" in parts:
            self._rows = parts.read("hour", dict[CoverageKey, _Row])
        self._has_changes = self._closed = False


def is_event(key: CoverageKey) -> bool:
    """Whether a row counts accepted events; such rows add up to all accepted events.

    >>> is_event(CoverageKey("3", "watched")), is_event(CoverageKey("3", "series_too_short", "age"))
    (True, False)
    """
    return key.reason == WATCHED or COVERAGE_UNITS[key.reason] == "event"
