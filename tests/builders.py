"""Alerts and commands with the fields a test is not about filled in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from producer.events import Command
from stream_monitor.contracts import DriftAlert
from stream_monitor.ingest.table import Table


def alert(**changes: object) -> DriftAlert:
    """A first alert of an episode of ``temp``, decided at offset 10."""
    plain = DriftAlert(
        alert_id="a",
        episode_id="e",
        phase="started",
        kind="data",
        severity="medium",
        model="m",
        version="1",
        series="feature/temp",
        feature="temp",
        detector="adwin",
        channel="location",
        direction="up",
        effect=0.2,
        p_value=1e-6,
        window_events=500,
        explanation="temp: moved",
        reference="training",
        topic="t",
        partition=0,
        onset_offset=1,
        onset_ms=1,
        detected_offset=5,
        detected_ms=5,
        decided_offset=10,
        decided_ms=10,
    )
    return msgspec.structs.replace(plain, **changes)


def command(action: str, **changes: object) -> Command:
    """Ann's word on episode ``e``."""
    plain = Command(id="c", model="m", action="resolve", episode="e", actor="ann", time_ms=0)
    return msgspec.structs.replace(plain, action=action, **changes)


def table_of(columns: Mapping[str, Sequence[Any]], n_rows: int = 0) -> Table:
    """A table of these columns, or of so many empty rows."""
    if not columns:
        return Table([{}] * n_rows)
    return Table(
        [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    )
