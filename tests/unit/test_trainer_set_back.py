"""A job that waits for labels is set back when the data of its feature break."""

from __future__ import annotations

import pytest

from tests.unit.hearing import (
    HOUR_MS,
    MENDED,
    MENDED_MS,
    MISSING,
    WALL_MS,
    events,
    hear,
    later,
)
from trainer.jobs import Database, active_jobs, move
from trainer.runtime.bench import Bench


def wait(database: Database) -> None:
    with database.transaction() as rows:
        (running,) = active_jobs(rows)
        move(rows, running, running.to("waiting"))


@pytest.mark.parametrize("waiting", [False, True])
def test_a_job_that_waits_is_set_back_when_its_data_break(
    database: Database, bench: Bench, *, waiting: bool
) -> None:
    hear(database, bench)
    if waiting:
        wait(database)

    assert hear(database, bench, **MISSING).rule == "data_quality"

    assert active_jobs(database.rows) == []
    refused = [e for e in events(database) if e.caused_by == "a"][-1]
    assert (refused.step, refused.rule) == ("refused", "beside_quality")
    assert later(database, bench, WALL_MS + 999 * HOUR_MS) == [None]

    for again, mended_ms in (("a/later", MENDED_MS), ("a/later-2", MENDED_MS + 2 * HOUR_MS)):
        hear(database, bench, **MENDED | {"alert_id": again + "!", "decided_ms": mended_ms}
             | ({"episode_id": "q2"} if again != "a/later" else {}))  # fmt: skip
        (decision,) = later(database, bench)
        assert decision is not None
        assert decision.action == "ask"
        (job,) = active_jobs(database.rows)
        assert (job.caused_by, job.work.onset_ms) == (again, mended_ms)
        hear(database, bench, **MISSING | {"alert_id": "q2", "episode_id": "q2",
             "onset_ms": mended_ms + 1, "decided_ms": mended_ms + 2})  # fmt: skip


def test_a_job_that_reads_already_goes_on_when_its_data_break(
    database: Database, bench: Bench
) -> None:
    """It had its labels before: what is broken now is behind them."""
    hear(database, bench)
    wait(database)
    with database.transaction() as rows:
        (running,) = active_jobs(rows)
        move(rows, running, running.to("reading"))

    hear(database, bench, **MISSING)

    (job,) = active_jobs(database.rows)
    assert job.caused_by == "a"


def test_a_job_of_another_feature_waits_on(database: Database, bench: Bench) -> None:
    hear(database, bench)

    hear(database, bench, **MISSING | {"feature": "age"})

    (job,) = active_jobs(database.rows)
    assert job.caused_by == "a"


def test_what_was_set_back_is_not_asked_for_again_once_it_is_over(
    database: Database, bench: Bench
) -> None:
    hear(database, bench)
    hear(database, bench, **MISSING)
    hear(database, bench, alert_id="over", phase="recovered")
    hear(database, bench, **MENDED)

    assert later(database, bench, WALL_MS + 999 * HOUR_MS) == []
    assert active_jobs(database.rows) == []
