"""Cooldown: a series that drifts again soon after it recovered is not told again at once.

One that flaps would otherwise be an alert and a recovery every few windows.  What begins within the
cooldown is told when the cooldown is over and it is still there, or as soon as it is worse than
what was told before.  Broken data has no cooldown, for whoever trains on it must know at once; nor
has the loss, whose alerts are as late as its labels; nor silence, delays and volume: while nothing
comes there is no event time that could end it; coverage has its own quiet time.
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
    """When an episode that was told recovered, in event time, and how bad it had been at most."""

    at_ms: int
    worst: Severity


class CooldownHold(NamedTuple):
    """What drifts again within the cooldown waits for its end, or until it is worse than before."""

    recovered_ms: int
    until_ms: int
    worse_than: Severity


class EventTimes(NamedTuple):
    """Where the events of a model lie, by offset, and their event times: (n,) each."""

    offsets: Ints
    times_ms: Ints

    @classmethod
    def of(cls, model: str, batches: Sequence[EventBatch]) -> EventTimes:
        """Those of one model, all its versions."""
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
    """What recovered lately, as many as recover within one cooldown.

    The time is that of the latest alert: a cooldown that was over is never on again.
    """

    def __init__(self, cooldown_ms: int) -> None:
        self._cooldown_ms = cooldown_ms
        self._now_ms = 0
        self._recovered: dict[CooldownKey, RecoveredEpisode] = {}

    def take(self, alert: DriftAlert) -> None:
        """An alert was decided, told or not: event time goes on."""
        self._now_ms = max(self._now_ms, alert.decided_ms)

    def hold_for(self, alert: DriftAlert) -> CooldownHold | None:
        """How long an episode that begins with ``alert`` has to wait; ``None``: not at all."""
        before = self._recovered.get(_cooldown_key(alert))
        if before is None or self._is_over(before):
            return None
        if alert.decided_ms < before.at_ms - self._cooldown_ms:
            return None  # other traffic, played into the same log: it may never come so far
        cooldown_hold = CooldownHold(before.at_ms, before.at_ms + self._cooldown_ms, before.worst)
        return None if is_worse(alert.severity, cooldown_hold) else cooldown_hold

    def recovered(self, alert: DriftAlert, worst: Severity) -> None:
        """An episode that was told is over, as ``alert`` says; it was as bad as ``worst``."""
        if alert.kind not in _WITHOUT:
            self._recovered = {
                what: before
                for what, before in self._recovered.items()
                if not self._is_over(before)
            }
            self._recovered[_cooldown_key(alert)] = RecoveredEpisode(alert.decided_ms, worst)

    def forget(self, alert: DriftAlert) -> None:
        """An episode ended in another way, as ``alert`` says: what begins next has no before."""
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
    """Whether an episode of ``severity`` need not wait.

    >>> [is_worse(bad, CooldownHold(0, 9, "medium")) for bad in ("high", "medium")]
    [True, False]
    """
    return SEVERITY_RANK[severity] > SEVERITY_RANK[cooldown_hold.worse_than]


def _cooldown_key(alert: DriftAlert) -> CooldownKey:
    return alert.version, alert.series, alert.kind
