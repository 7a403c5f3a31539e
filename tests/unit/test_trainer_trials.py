"""Who works on a job and dies of it is counted; who ends otherwise is not."""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.jobs import Database, Job, add_job, find_job, move
from trainer.jobs.job import State
from trainer.jobs.ledger import restart
from trainer.runtime.trials import TRIES, Trials, has_killed

JOB = Job(
    job_id="j", caused_by="a", model="m", episode_id="e", champion="1", state="waiting", asked_ms=1,
)  # fmt: skip


def found(database: Database) -> Job:
    job = find_job(database.rows, JOB.job_id)
    assert job is not None
    return job


def go_on(database: Database, *states: State) -> None:
    for state in states:
        with database.transaction() as rows:
            before = found(database)
            move(rows, before, before.to(state))


@given(st.lists(st.sampled_from(["dies", "stops", "survives and dies", "survives and stops"])))
def test_a_job_has_killed_when_so_many_died_since_one_survived(lives: list[str]) -> None:
    with tempfile.TemporaryDirectory() as home, closing(Database(Path(home))) as database:
        with database.transaction() as rows:
            add_job(rows, JOB)
        died = 0
        for life in [*lives, "looks"]:
            trials = Trials(database)
            job = trials.begin(found(database))
            assert has_killed(job) == (died >= TRIES)
            assert trials.begin(found(database)) == job  # counted once a process
            if "survives" in life:
                trials.survived(job)
                trials.survived(job)
                died = 0
            if "stops" in life:
                trials.close()
            elif life == "dies":
                died += 1


@pytest.fixture
def database(database: Database) -> Database:
    """With the job in it."""
    with database.transaction() as rows:
        add_job(rows, JOB)
    return database


def test_a_fit_that_kills_is_known_though_reading_begins_again_each_time(
    database: Database,
) -> None:
    for died in range(TRIES + 1):
        trials = Trials(database)
        with database.transaction() as rows:
            restart(rows)  # what a dead process had read is gone
        for state, following in (("waiting", "reading"), ("reading", "fitting")):
            if found(database).state == state:
                job = trials.begin(found(database))
                assert not has_killed(job)
                go_on(database, following)  # type: ignore[arg-type]
        job = trials.begin(found(database))
        assert (job.state, job.work.begun) == ("fitting", {"fitting": died + 1})
        assert has_killed(job) == (died == TRIES)
    go_on(database, "evaluating")
    assert found(database).work.begun == {}


def test_deaths_between_its_steps_are_not_the_job_s_doing(database: Database) -> None:
    for _ in range(2 * TRIES):
        trials = Trials(database)
        trials.ended(trials.begin(found(database)))  # and then the process dies of another job
    assert trials.begin(found(database)).work.begun == {"waiting": 1}


def test_a_promotion_is_never_given_up(database: Database) -> None:
    go_on(database, "reading", "fitting", "evaluating", "storing", "promoting")
    for _ in range(2 * TRIES):
        assert not has_killed(Trials(database).begin(found(database)))


def test_a_job_that_has_left_its_step_is_not_noted_any_more(database: Database) -> None:
    trials = Trials(database)
    waiting = trials.begin(found(database))
    go_on(database, "reading")
    trials.survived(waiting)
    trials.close()
    assert found(database).work.begun == {}
