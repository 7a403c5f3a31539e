"""A trainer's bench and file, and alerts that it hears."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from tests.unit.alert_factories import alert
from trainer.contracts import RetrainEvent
from trainer.decision import Decision
from trainer.jobs import Database, ready
from trainer.jobs.deferred import deferred
from trainer.runtime.bench import Bench, bench_of
from trainer.runtime.hearing import reconsider, record
from trainer.settings import Settings

HOUR_MS = 3_600_000
NOW_MS = 1_700_000_000_000
WALL_MS = 1_800_000_000_000
MISSING = {
    "alert_id": "q", "episode_id": "q", "kind": "quality", "severity": "low",
    "explanation": "temp: missing 1 % → 9 %", "onset_ms": NOW_MS - HOUR_MS,
    "decided_ms": NOW_MS - 1,
}  # fmt: skip
MENDED_MS = NOW_MS + 5 * HOUR_MS
MENDED: dict[str, Any] = MISSING | {
    "alert_id": "q-over", "phase": "recovered", "decided_ms": MENDED_MS,
}  # fmt: skip


def bench_in(home: Path) -> Bench:
    told: dict[str, Any] = {"trainer": {"home": home, "factories": {"m": "f:f"}}}
    return bench_of(Settings(**told))


def hear(database: Database, bench: Bench, **changes: Any) -> Decision:
    told = {"decided_ms": NOW_MS} | changes
    with database.transaction() as rows:
        return record(rows, alert(**told), bench, wall_ms=WALL_MS)


def later(database: Database, bench: Bench, wall_ms: int = WALL_MS) -> list[Decision | None]:
    with database.transaction() as rows:
        return [reconsider(rows, one, bench, wall_ms=wall_ms) for one in deferred(rows)]


def events(database: Database) -> list[RetrainEvent]:
    return [msgspec.json.decode(one.value, type=RetrainEvent) for one in ready(database.rows)]
