"""Processes that crash during a step of a job are counted; those that end otherwise are not."""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.trainer_alerts import a_job
from trainer.jobs.database import Database
from trainer.jobs.job import Job, State
from trainer.jobs.job_store import add_job, find_job, reset_interrupted_jobs, transition
from trainer.service.job_executor import MAX_CRASHES, CrashGuard, is_over_crash_limit

JOB = a_job(state="waiting")


def found(database: Database) -> Job:
    job = find_job(database.rows, JOB.job_id)
    assert job is not None
    return job


def advance(database: Database, *states: State) -> None:
    for state in states:
        with database.transaction() as rows:
            before = found(database)
            transition(rows, before, before.to(state))


@given(st.lists(st.sampled_from(["dies", "stops", "survives and dies", "survives and stops"])))
def test_a_job_has_killed_when_so_many_died_since_one_survived(lives: list[str]) -> None:
    with tempfile.TemporaryDirectory() as data_dir, closing(Database(Path(data_dir))) as database:
        with database.transaction() as rows:
            add_job(rows, JOB)
        died = 0
        for life in [*lives, "looks"]:
            crash_guard = CrashGuard(database)
            job = crash_guard.step_started(found(database))
            assert is_over_crash_limit(job) == (died >= MAX_CRASHES)
            assert crash_guard.step_started(found(database)) == job  # counted once a process
            if "survives" in life:
                crash_guard.step_survived(job)
                crash_guard.step_survived(job)
                died = 0
            if "stops" in life:
                crash_guard.close()
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
    for died in range(MAX_CRASHES + 1):
        crash_guard = CrashGuard(database)
        with database.transaction() as rows:
            reset_interrupted_jobs(rows)  # what a dead process had read is gone
        for state, following in (("waiting", "reading"), ("reading", "fitting")):
            if found(database).state == state:
                job = crash_guard.step_started(found(database))
                assert not is_over_crash_limit(job)
                advance(database, following)  # type: ignore[arg-type]
        job = crash_guard.step_started(found(database))
        assert (job.state, job.work.attempts) == ("fitting", {"fitting": died + 1})
        assert is_over_crash_limit(job) == (died == MAX_CRASHES)
    advance(database, "evaluating")
    assert found(database).work.attempts == {}


def test_deaths_between_its_steps_are_not_the_job_s_doing(database: Database) -> None:
    for _ in range(2 * MAX_CRASHES):
        crash_guard = CrashGuard(database)
        crash_guard.step_interrupted(
            crash_guard.step_started(found(database))
        )  # and then the process dies of another job
    assert crash_guard.step_started(found(database)).work.attempts == {"waiting": 1}


def test_a_promotion_is_never_given_up(database: Database) -> None:
    advance(database, "reading", "fitting", "evaluating", "refitting", "storing", "promoting")
    for _ in range(2 * MAX_CRASHES):
        assert not is_over_crash_limit(CrashGuard(database).step_started(found(database)))


def test_a_job_that_has_left_its_step_is_not_noted_any_more(database: Database) -> None:
    crash_guard = CrashGuard(database)
    waiting = crash_guard.step_started(found(database))
    advance(database, "reading")
    crash_guard.step_survived(waiting)
    crash_guard.close()
    assert found(database).work.attempts == {}
