"""A drift that persists through a cooldown is retrained on when the cooldown is over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.builders import alert
from tests.unit.trainer_alerts import a_job
from trainer.jobs.database import Database
from trainer.jobs.deferred_alerts import deferred_alerts
from trainer.jobs.job import Outcome
from trainer.jobs.job_store import active_jobs, add_job, transition
from trainer.jobs.outbox import unsent_records
from trainer.policy.decide import Decision
from trainer.service.alert_consumer import handle_alert, reconsider
from trainer.service.context import TrainerContext, context_from_settings
from trainer.settings import Settings

HOUR_MS = 3_600_000
NOW_MS = 1_700_000_000_000
WALL_MS = 1_800_000_000_000
_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"


@pytest.fixture
def context(tmp_path: Path) -> TrainerContext:
    fields: dict[str, Any] = {
        "trainer": {
            "data_dir": tmp_path,
            "factories": {"m": "f:f"},
            "policy": {"cooldown_ms": 72 * HOUR_MS, "max_retrains_per_day": 1},
        }
    }
    return context_from_settings(Settings(**fields))


def receive_alert(database: Database, context: TrainerContext, **changes: Any) -> Decision:
    fields = {"decided_ms": NOW_MS, "kind": "data"} | changes
    with database.transaction() as rows:
        return handle_alert(rows, alert(**fields), context, wall_ms=WALL_MS)


def later(database: Database, context: TrainerContext, wall_ms: int) -> list[Decision | None]:
    with database.transaction() as rows:
        return [reconsider(rows, one, context, wall_ms=wall_ms) for one in deferred_alerts(rows)]


def test_the_trainer_records_nothing_of_a_drill(
    database: Database, context: TrainerContext
) -> None:
    broken = {"kind": "quality", "severity": "high"}
    for fields in ({}, broken, {"phase": "recovered"}, {"alert_id": "b", "phase": "ongoing"}):
        assert receive_alert(database, context, drill=True, **fields) == Decision("ignore", "drill")

    with database.transaction() as rows:
        tables = [name for (name,) in rows.execute(_TABLES)]
        held = {name: rows.execute(f"SELECT COUNT(*) FROM {name}").fetchone()[0] for name in tables}  # noqa: S608
    assert set(held.values()) == {0}, held


def a_job_ran(database: Database) -> None:
    with database.transaction() as rows:
        job = a_job(caused_by="before", episode_id="other", asked_ms=NOW_MS - HOUR_MS)
        add_job(rows, job.ended("rejected"))


def test_after_the_cooldown_of_the_wall_s_clock(
    database: Database, context: TrainerContext
) -> None:
    a_job_ran(database)

    assert receive_alert(database, context).rule == "cooldown"
    assert later(database, context, WALL_MS + 70 * HOUR_MS) == [None]
    (decision,) = later(database, context, WALL_MS + 71 * HOUR_MS)

    assert decision is not None
    assert decision.action == "request"
    (job,) = active_jobs(database.rows)
    assert (job.caused_by, job.episode_id) == ("a/later", "e")
    assert job.asked_ms == NOW_MS + 71 * HOUR_MS
    assert later(database, context, WALL_MS + 999 * HOUR_MS) == [None]
    assert active_jobs(database.rows) == [job]


def test_after_the_cooldown_of_event_time(database: Database, context: TrainerContext) -> None:
    a_job_ran(database)
    receive_alert(database, context)

    receive_alert(
        database,
        context,
        alert_id="b",
        episode_id="f",
        kind="quality",
        feature="wind",
        decided_ms=NOW_MS + 71 * HOUR_MS,
    )

    assert [d.action for d in later(database, context, WALL_MS) if d is not None] == ["request"]


@pytest.mark.parametrize("phase", ["recovered", "superseded", "resolved"])
def test_not_when_the_drift_is_over(
    database: Database, context: TrainerContext, phase: str
) -> None:
    a_job_ran(database)
    receive_alert(database, context)

    receive_alert(database, context, alert_id="over", phase=phase, decided_ms=NOW_MS + HOUR_MS)

    assert later(database, context, WALL_MS + 999 * HOUR_MS) == []


def test_a_request_is_decided_after_the_running_job_and_its_cooldown(
    database: Database, context: TrainerContext
) -> None:
    receive_alert(database, context)
    assert receive_alert(database, context, alert_id="b", episode_id="f").rule == "already_running"
    assert later(database, context, WALL_MS) == [None, None]
    end_job(database, "promoted")

    assert [d and d.rule for d in later(database, context, WALL_MS + HOUR_MS)] == [
        "episode_decided",
        None,
    ]
    assert [d.action for d in later(database, context, WALL_MS + 73 * HOUR_MS) if d] == ["request"]


def end_job(database: Database, outcome: Outcome, *, after_h: int = 1) -> None:
    """End the active job; it saw events until ``after_h`` hours after its start."""
    with database.transaction() as rows:
        (job,) = active_jobs(rows)
        seen = job.to(job.state, now_ms=job.asked_ms + after_h * HOUR_MS)
        transition(rows, job, seen.ended(outcome))


def test_a_rejected_episode_is_decided_again_when_it_has_lasted_twice_as_long(
    database: Database, context: TrainerContext
) -> None:
    receive_alert(database, context)
    end_job(database, "rejected")
    rejected_after_ms = NOW_MS + HOUR_MS - alert().onset_ms
    due_ms = WALL_MS + HOUR_MS + max(rejected_after_ms, context.policy.cooldown_ms)

    assert later(database, context, due_ms - 1) == [None]
    (again,) = later(database, context, due_ms)

    assert again is not None
    assert again.action == "request"
    assert "labelled events since the rejected retrain" in again.reason
    (job,) = active_jobs(database.rows)
    assert (job.caused_by, job.work.onset_ms) == ("a/later", alert().onset_ms)
    assert job.work.labels_since_ms == NOW_MS + HOUR_MS  # new evidence only
    end_job(database, "rejected")
    (third,) = later(database, context, due_ms + 4 * rejected_after_ms)
    assert third is not None
    assert active_jobs(database.rows)[0].caused_by == "a/later-2"


@pytest.mark.parametrize("outcome", ["promoted", "failed", "gave_up"])
def test_other_outcomes_end_the_decisions_on_an_episode(
    database: Database, context: TrainerContext, outcome: Outcome
) -> None:
    receive_alert(database, context)
    end_job(database, outcome)

    (decision,) = later(database, context, WALL_MS + 999 * HOUR_MS)

    assert decision == Decision("ignore", "episode_decided")
    assert deferred_alerts(database.rows) == []


@pytest.mark.parametrize("ends_first", [True, False])
def test_a_rejected_episode_that_ended_asks_for_nothing(
    database: Database, context: TrainerContext, *, ends_first: bool
) -> None:
    receive_alert(database, context)
    if not ends_first:
        end_job(database, "rejected")
    with database.transaction() as rows:  # the job has read its rows: it is not cancelled
        for job in active_jobs(rows):
            waiting = job.to("waiting")
            transition(rows, job, waiting)
            transition(rows, waiting, waiting.to("reading"))
    receive_alert(
        database, context, alert_id="over", phase="recovered", decided_ms=NOW_MS + HOUR_MS
    )
    if ends_first:
        end_job(database, "rejected")

    assert later(database, context, WALL_MS + 999 * HOUR_MS) == []


def set_champion(database: Database, number: int, version: str) -> None:
    time_ms = NOW_MS + number * HOUR_MS
    with database.transaction() as rows:
        rows.execute(
            "INSERT INTO champions VALUES (?, 'm', ?, 'ab', ?, ?)",
            (number, version, time_ms, str(number)),
        )


def test_an_episode_of_another_version_waits_until_that_is_the_champion(
    database: Database, context: TrainerContext
) -> None:
    """A canary that drifts, and a version that is put back into service."""
    set_champion(database, 1, "2")
    declined = receive_alert(database, context, champion="2")
    assert (declined.action, declined.rule) == ("decline", "old_version")
    assert "not the champion (2 is)" in declined.reason
    fields = len(unsent_records(database.rows))

    assert later(database, context, WALL_MS + 72 * HOUR_MS) == [None]
    assert len(unsent_records(database.rows)) == fields
    set_champion(database, 2, "1")
    assert [d.action for d in later(database, context, WALL_MS + 73 * HOUR_MS) if d] == ["request"]
    end_job(database, "promoted")
    assert later(database, context, WALL_MS + 73 * HOUR_MS) != [None]
    assert deferred_alerts(database.rows) == []
