"""Alerts for a trainer, and its decisions about them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from tests.builders import alert
from trainer.contracts import RetrainEvent
from trainer.jobs.database import Database
from trainer.jobs.deferred_alerts import deferred_alerts
from trainer.jobs.job import Job
from trainer.jobs.outbox import unsent_records
from trainer.policy.decide import Decision
from trainer.service.alert_consumer import handle_alert, reconsider
from trainer.service.context import TrainerContext, context_from_settings
from trainer.settings import Settings

HOUR_MS = 3_600_000
NOW_MS = 1_700_000_000_000
WALL_MS = 1_800_000_000_000
MISSING = {
    "alert_id": "q",
    "episode_id": "q",
    "kind": "quality",
    "severity": "low",
    "explanation": "temp: missing 1 % → 9 %",
    "onset_ms": NOW_MS - HOUR_MS,
    "decided_ms": NOW_MS - 1,
}
MENDED_MS = NOW_MS + 5 * HOUR_MS
MENDED: dict[str, Any] = MISSING | {
    "alert_id": "q-over",
    "phase": "recovered",
    "decided_ms": MENDED_MS,
}


def trainer_context_in(data_dir: Path) -> TrainerContext:
    values: dict[str, Any] = {"trainer": {"data_dir": data_dir, "factories": {"m": "f:f"}}}
    return context_from_settings(Settings(**values))


def receive_alert(database: Database, context: TrainerContext, **changes: Any) -> Decision:
    values = {"decided_ms": NOW_MS} | changes
    with database.transaction() as rows:
        return handle_alert(rows, alert(**values), context, wall_ms=WALL_MS)


def later(
    database: Database, context: TrainerContext, wall_ms: int = WALL_MS
) -> list[Decision | None]:
    with database.transaction() as rows:
        return [reconsider(rows, one, context, wall_ms=wall_ms) for one in deferred_alerts(rows)]


def events(database: Database) -> list[RetrainEvent]:
    return [
        msgspec.json.decode(one.value, type=RetrainEvent) for one in unsent_records(database.rows)
    ]


def a_job(**changes: Any) -> Job:
    """A job of the model ``m`` that an alert caused."""
    plain: dict[str, Any] = {
        "job_id": "j",
        "caused_by": "a",
        "model": "m",
        "episode_id": "e",
        "champion": "1",
        "state": "asked",
        "asked_ms": 1,
    }
    return Job(**{**plain, **changes})
