"""A job that waits for labels is set back when the data of its feature break."""

from __future__ import annotations

import pytest

from tests.unit.trainer_alerts import (
    HOUR_MS,
    MENDED,
    MENDED_MS,
    MISSING,
    WALL_MS,
    events,
    later,
    receive_alert,
)
from trainer.jobs.database import Database
from trainer.jobs.job_store import active_jobs, transition
from trainer.service.context import TrainerContext


def wait(database: Database) -> None:
    with database.transaction() as rows:
        (running,) = active_jobs(rows)
        transition(rows, running, running.to("waiting"))


@pytest.mark.parametrize("waiting", [False, True])
def test_a_job_that_waits_is_set_back_when_its_data_break(
    database: Database, context: TrainerContext, *, waiting: bool
) -> None:
    receive_alert(database, context)
    if waiting:
        wait(database)

    assert receive_alert(database, context, **MISSING).rule == "data_quality"

    assert active_jobs(database.rows) == []
    declined = [e for e in events(database) if e.caused_by == "a"][-1]
    assert (declined.step, declined.rule) == ("declined", "data_quality_open")
    assert later(database, context, WALL_MS + 999 * HOUR_MS) == [None]

    for again, mended_ms in (("a/later", MENDED_MS), ("a/later-2", MENDED_MS + 2 * HOUR_MS)):
        receive_alert(
            database,
            context,
            **MENDED
            | {"alert_id": again + "!", "decided_ms": mended_ms}
            | ({"episode_id": "q2"} if again != "a/later" else {}),
        )
        (decision,) = later(database, context)
        assert decision is not None
        assert decision.action == "request"
        (job,) = active_jobs(database.rows)
        assert (job.caused_by, job.work.onset_ms) == (again, mended_ms)
        receive_alert(
            database,
            context,
            **MISSING
            | {
                "alert_id": "q2",
                "episode_id": "q2",
                "onset_ms": mended_ms + 1,
                "decided_ms": mended_ms + 2,
            },
        )


def test_a_job_that_is_reading_continues_when_its_data_break(
    database: Database, context: TrainerContext
) -> None:
    """It had its labels before: what is broken now is behind them."""
    receive_alert(database, context)
    wait(database)
    with database.transaction() as rows:
        (running,) = active_jobs(rows)
        transition(rows, running, running.to("reading"))

    receive_alert(database, context, **MISSING)

    (job,) = active_jobs(database.rows)
    assert job.caused_by == "a"


def test_a_job_of_another_feature_waits_on(database: Database, context: TrainerContext) -> None:
    receive_alert(database, context)

    receive_alert(database, context, **MISSING | {"feature": "age"})

    (job,) = active_jobs(database.rows)
    assert job.caused_by == "a"


def test_a_requeued_alert_of_an_ended_episode_requests_no_retrain(
    database: Database, context: TrainerContext
) -> None:
    receive_alert(database, context)
    receive_alert(database, context, **MISSING)
    receive_alert(database, context, alert_id="over", phase="recovered")
    receive_alert(database, context, **MENDED)

    assert later(database, context, WALL_MS + 999 * HOUR_MS) == []
    assert active_jobs(database.rows) == []
