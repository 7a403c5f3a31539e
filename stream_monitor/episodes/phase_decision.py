"""Decisions of an episode tracker, or of a rule of one signal: suspicions and phases."""

from __future__ import annotations

from typing import NamedTuple

from stream_monitor.contracts import DetectorName, Direction, Phase, Severity
from stream_monitor.episodes.recovery import RecoveryProgress


class Suspicion(NamedTuple):
    """A detection, as the start of an episode that is not confirmed.

    ``seen`` is the number of coded events of the batch at or before it: fresh events start there.
    """

    seen: int
    detector: DetectorName
    channel: str
    direction: Direction
    offset: int
    time_ms: int
    onset_offset: int
    onset_ms: int


class PhaseDecision(NamedTuple):
    """A phase of an episode, decided at ``offset`` from ``n_events`` fresh events.

    ``total`` is the sum of their fixed-point values (0 where they are not numeric), ``bins`` counts
    them by distance bin, ``expected_total`` is the sum of the expected losses, and ``slots`` counts
    them by slot of the calendar, if the reference has one.  ``since`` is the offset after which
    they were counted.  ``progress`` of an "ongoing" phase is the recovery progress: 0 events
    withdraw an earlier report.  ``repeats``: see `RepeatingEpisodeTracker`.  ``value`` is an
    unknown value that repeats, or the one at which a feature is constant.
    """

    phase: Phase
    suspicion: Suspicion
    effect: float
    p_value: float
    n_events: int
    total: int
    bins: tuple[int, ...]
    offset: int
    time_ms: int
    cause: str | None = None
    severity: Severity | None = None
    expected_total: int = 0
    repeats: bool = False
    progress: RecoveryProgress | None = None
    since: int = -1
    slots: tuple[int, ...] = ()
    value: float | None = None
