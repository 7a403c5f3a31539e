"""Alerts and commands with the fields a test is not about filled in."""

from __future__ import annotations

import msgspec

from producer.events import Command
from stream_monitor.contracts import DriftAlert


def alert(**changes: object) -> DriftAlert:
    """A first alert of an episode of ``temp``, decided at offset 10."""
    plain = DriftAlert(
        alert_id="a", episode_id="e", phase="started", kind="data", severity="medium", model="m",
        version="1", series="feature/temp", feature="temp", detector="adwin", channel="location",
        direction="up", effect=0.2, p_value=1e-6, window_events=500, explanation="temp: moved",
        reference="training", topic="t", partition=0, onset_offset=1, onset_ms=1,
        detected_offset=5, detected_ms=5, decided_offset=10, decided_ms=10,
    )  # fmt: skip
    return msgspec.structs.replace(plain, **changes)


def command(action: str, **changes: object) -> Command:
    """Ann's word on episode ``e``."""
    plain = Command(id="c", model="m", action="resolve", episode="e", actor="ann", time_ms=0)
    return msgspec.structs.replace(plain, action=action, **changes)
