"""Cooldown: suppress a new episode of a signal for some time after the last one recovered.

A signal that flaps would otherwise cause an alert and a recovery every few windows.  An episode
that starts within the cooldown is reported at its end if it is still open, or as soon as it is
more severe than the last one.  Some kinds have no cooldown: data quality, because a trainer must
know at once; the error, whose alerts are as late as its labels; the traffic, because without events
no event time passes that could end it; coverage, which has a timeout of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np

from stream_monitor.contracts import SEVERITY_RANK, DriftAlert, Kind, Severity
from stream_monitor.ingest.batch import EventBatch, Ints

CooldownKey: TypeAlias = tuple[str, str, str]
"""Version, series and kind: what may flap."""

_WITHOUT: Final[frozenset[Kind]] = frozenset({"quality", "concept", "volume", "labels", "coverage"})


class RecoveredEpisode(NamedTuple):
    """When a reported episode recovered, in event time, and its highest severity."""

    at_ms: int
    worst: Severity


class CooldownHold(NamedTuple):
    """Suppress an episode until an event time, or until it is more severe than the last one."""

    recovered_ms: int
    until_ms: int
    worse_than: Severity


class EventTimes(NamedTuple):
    """Offsets and event times of the events of one model, (n,) each, in order of the offsets."""

    offsets: Ints
    times_ms: Ints

    @classmethod
    def of(cls, model: str, batches: Sequence[EventBatch]) -> EventTimes:
        """The events of one model, all versions."""
        mine = [batch for batch in batches if batch.model == model]
        if not mine:
            return NO_EVENTS
        offsets = np.concatenate([batch.offsets for batch in mine])
        in_order = np.argsort(offsets)
        times_ms = np.concatenate([batch.times_ms for batch in mine])
        return cls(offsets[in_order], times_ms[in_order])

    def first(self, after: int, upto: int, until_ms: int) -> tuple[int, int] | None:
        """Offset and time of the first event of offsets (after, upto] at ``until_ms`` or later."""
        start, end = np.searchsorted(self.offsets, (after, upto), "right").tolist()
        late = np.flatnonzero(self.times_ms[start:end] >= until_ms)
        if not len(late):
            return None
        i = start + int(late[0])
        return int(self.offsets[i]), int(self.times_ms[i])


NO_EVENTS: Final = EventTimes(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))


class Cooldown:
    """The episodes that recovered within the last cooldown.

    The clock is the event time of the latest alert and only moves forward.
    """

    def __init__(self, cooldown_ms: int) -> None:
        self._cooldown_ms = cooldown_ms
        self._now_ms = 0
        self._recovered: dict[CooldownKey, RecoveredEpisode] = {}

    def take(self, alert: DriftAlert) -> None:
        """Advance the clock to an alert that was decided, reported or not."""
        self._now_ms = max(self._now_ms, alert.decided_ms)

    def hold_for(self, alert: DriftAlert) -> CooldownHold | None:
        """Return how long the episode that starts with ``alert`` is suppressed, if it is."""
        before = self._recovered.get(_cooldown_key(alert))
        if before is None or self._is_over(before):
            return None
        if alert.decided_ms < before.at_ms - self._cooldown_ms:
            return None  # other traffic, played into the same log: it may never come so far
        cooldown_hold = CooldownHold(before.at_ms, before.at_ms + self._cooldown_ms, before.worst)
        return None if is_worse(alert.severity, cooldown_hold) else cooldown_hold

    def recovered(self, alert: DriftAlert, worst: Severity) -> None:
        """Start the cooldown of a reported episode that recovered; ``worst`` was its severity."""
        if alert.kind not in _WITHOUT:
            self._recovered = {
                what: before
                for what, before in self._recovered.items()
                if not self._is_over(before)
            }
            self._recovered[_cooldown_key(alert)] = RecoveredEpisode(alert.decided_ms, worst)

    def forget(self, alert: DriftAlert) -> None:
        """Drop the cooldown of an episode that ended without a recovery."""
        self._recovered.pop(_cooldown_key(alert), None)

    def _is_over(self, before: RecoveredEpisode) -> bool:
        return self._now_ms >= before.at_ms + self._cooldown_ms

    def snapshot(self) -> list[Any]:
        """All of it as plain data."""
        recovered = [[*what, *before] for what, before in sorted(self._recovered.items())]
        return [self._now_ms, recovered]

    def restore(self, data: list[Any]) -> None:
        """Continue from `snapshot`.  Raises ValueError where it does not fit."""
        self._now_ms = int(data[0])
        self._recovered = {}
        for version, series, kind, at_ms, worst in data[1]:
            if worst not in SEVERITY_RANK:
                raise ValueError(f"unknown severity {worst!r} of what recovered")
            self._recovered[version, series, kind] = RecoveredEpisode(int(at_ms), worst)


def is_worse(severity: Severity, cooldown_hold: CooldownHold) -> bool:
    """Whether an episode of ``severity`` is reported in spite of the cooldown.

    >>> [is_worse(bad, CooldownHold(0, 9, "medium")) for bad in ("high", "medium")]
    [True, False]
    """
    return SEVERITY_RANK[severity] > SEVERITY_RANK[cooldown_hold.worse_than]


def _cooldown_key(alert: DriftAlert) -> CooldownKey:
    return alert.version, alert.series, alert.kind
