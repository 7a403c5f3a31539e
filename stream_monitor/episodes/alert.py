"""TODO."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import msgspec

from stream_monitor.contracts import DriftAlert, Phase, ReferenceOrigin


class AlertSource(NamedTuple):
    """Where a series lives: all its alerts share this."""

    topic: str
    partition: int
    model: str
    version: str
    origin: ReferenceOrigin


def derived_id(*parts: object) -> str:
    """An id that any repeat of the same decision derives again.

    >>> derived_id("t", 0, 17) == derived_id("t", 0, 17) != derived_id("t", 0, 18)
    True
    """
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()[:32]


def later_phase(
    alert: DriftAlert, phase: Phase, offset: int, time_ms: int, explanation: str
) -> DriftAlert:
    """The episode of ``alert`` a phase later, decided at a record and its event time."""
    return msgspec.structs.replace(
        alert,
        alert_id=derived_id(alert.episode_id, phase, offset),
        phase=phase,
        explanation=explanation,
        decided_offset=offset,
        decided_ms=time_ms,
    )
