from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from trainer.jobs.champions import Champion, champion_of, previous_champion, set_champion
from trainer.jobs.database import DATABASE_FILE, Database
from trainer.jobs.job import TRANSITIONS, Job, State
from trainer.jobs.job_store import (
    active_jobs,
    add_job,
    find_job,
    history_of,
    latest_ms,
    positions,
    reset_interrupted_jobs,
    set_positions,
    transition,
    used_version_names,
)
from trainer.jobs.outbox import OutboundRecord, enqueue, mark_sent, unsent_records
from trainer.policy.offset_ranges import OffsetRange
from trainer.policy.retrain_policy import DAY_MS

NOW_MS = 1_700_000_000_000


def job(number: int = 1, *, model: str = "m", asked_ms: int = NOW_MS) -> Job:
    return Job(
        job_id=f"j{number}",
        caused_by=f"a{number}",
        model=model,
        episode_id=f"e{number}",
        champion="1",
        state="asked",
        asked_ms=asked_ms,
    )


def walk(database: Database, start: Job, *states: State) -> Job:
    current = start
    with database.transaction() as rows:
        for state in states:
            after = current.to(state)
            transition(rows, current, after)
            current = after
    return current


def test_a_recorded_job_is_read_back_unchanged(database: Database) -> None:
    asked = job().to("asked", ranges=[OffsetRange(partition=3, start=1, end=9)], onset_ms=5)

    with database.transaction() as rows:
        assert add_job(rows, asked)

    assert find_job(database.rows, "j1") == asked


def test_an_alert_has_one_job(database: Database) -> None:
    with database.transaction() as rows:
        assert add_job(rows, job())
        assert not add_job(rows, msgspec.structs.replace(job(), job_id="other"))


def test_a_model_has_one_job_at_a_time(database: Database) -> None:
    with database.transaction() as rows:
        add_job(rows, job(1))
        add_job(rows, job(2, model="n"))
        add_job(rows, job(3).ended("declined"))
        with pytest.raises(sqlite3.IntegrityError):
            add_job(rows, job(4))


def test_a_step_that_fails_changes_nothing(database: Database) -> None:
    with database.transaction() as rows:
        add_job(rows, job())
    outbound_record = OutboundRecord("id", "topic", "m", "kind", b"{}")

    def fail() -> None:
        with database.transaction() as rows:
            transition(rows, job(), job().to("waiting"))
            enqueue(rows, [outbound_record])
            set_positions(rows, "alerts", {0: 7})
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        fail()

    assert find_job(database.rows, "j1") == job()
    assert unsent_records(database.rows) == []
    assert positions(database.rows, "alerts") == {}


def test_the_table_is_the_state_machine(database: Database) -> None:
    with database.transaction() as rows:
        add_job(rows, job())
        with pytest.raises(ValueError, match="cannot go from asked to fitting"):
            transition(rows, job(), job().to("fitting"))
        with pytest.raises(LookupError):
            transition(rows, job().to("waiting"), job().to("reading"))
    assert all("done" in after for state, after in TRANSITIONS.items() if state != "done")


def test_a_restart_reads_again_what_was_in_memory_and_keeps_the_ranges(database: Database) -> None:
    with database.transaction() as rows:
        add_job(rows, job())
        add_job(rows, job(2, model="n"))
    ranges = [OffsetRange(partition=0, start=0, end=5)]
    walk(database, job(), "waiting")
    reading = job().to("reading", ranges=ranges)
    with database.transaction() as rows:
        transition(rows, job().to("waiting"), reading)
    walk(database, reading, "fitting", "evaluating")

    with database.transaction() as rows:
        assert reset_interrupted_jobs(rows) == 1

    assert find_job(database.rows, "j1") == reading
    assert [one.state for one in active_jobs(database.rows)] == ["reading", "asked"]


def test_only_jobs_that_ran_count_for_cooldown_and_budget(database: Database) -> None:
    with database.transaction() as rows:
        for number, outcome in enumerate(("declined", "cancelled", "gave_up")):
            add_job(rows, job(number).ended(outcome))  # type: ignore[arg-type]
        add_job(rows, job(8, asked_ms=NOW_MS - DAY_MS).ended("failed"))
        add_job(rows, job(9, asked_ms=NOW_MS - 5).to("asked", now_ms=NOW_MS + 5).ended("rejected"))

    history = history_of(database.rows, "m", episode_id="e9", now_ms=NOW_MS, has_factory=True)

    assert history.asked_ms == (NOW_MS - 5,)
    assert history.finished_ms == NOW_MS + 5
    assert not history.episode_decided
    assert history.rejected_ms == NOW_MS + 5
    assert history.running_job_id is None
    assert latest_ms(database.rows, "m") == NOW_MS + 5


@pytest.mark.parametrize(
    ("rule", "decisions"),
    [
        ("data_quality", 1),
        ("old_version", 0),
        ("cooldown", 0),
        ("already_running", 0),
        ("data_quality_open", 0),
    ],
)
def test_a_deferrable_decline_is_not_final(database: Database, rule: str, decisions: int) -> None:
    declined = job(1).to("asked", rule=rule).ended("declined")
    with database.transaction() as rows:
        add_job(rows, declined)

    history = history_of(
        database.rows, "m", episode_id=declined.episode_id, now_ms=NOW_MS, has_factory=True
    )

    assert history.episode_decided == bool(decisions)


def test_only_a_job_that_waits_can_be_cancelled(database: Database) -> None:
    def waiting_episode_id() -> str | None:
        history = history_of(database.rows, "m", episode_id=None, now_ms=0, has_factory=True)
        return history.waiting_episode_id

    with database.transaction() as rows:
        add_job(rows, job())
    assert waiting_episode_id() == "e1"

    walk(database, job(), "waiting", "reading")
    assert waiting_episode_id() is None


def test_the_champion_is_the_last_one_set_and_once_for_each_cause(database: Database) -> None:
    one, two = (Champion("m", v, f"sha{v}", int(v), f"cause{v}") for v in "12")
    with database.transaction() as rows:
        for champion in (one, two, two):
            set_champion(rows, champion)

    assert champion_of(database.rows, "m") == two
    assert previous_champion(database.rows, "m") == one
    assert champion_of(database.rows, "n") is None
    assert used_version_names(database.rows, "m") == ["1", "2"]


def test_an_outbound_record_is_sent_until_acknowledged_and_added_once(database: Database) -> None:
    outbound_records = [OutboundRecord(f"id{n}", "topic", "m", "kind", b"{}") for n in range(3)]
    with database.transaction() as rows:
        enqueue(rows, outbound_records)
    assert unsent_records(database.rows) == outbound_records

    with database.transaction() as rows:
        mark_sent(rows, outbound_records[:2])
        enqueue(rows, outbound_records)

    assert unsent_records(database.rows) == outbound_records[2:]


def test_the_file_is_found_again_and_another_format_is_rejected(tmp_path: Path) -> None:
    with closing(Database(tmp_path)) as first, first.transaction() as rows:
        add_job(rows, job())
    with closing(Database(tmp_path)) as second:
        assert active_jobs(second.rows) == [job()]
    for format_, fix in ((99, "use the driftline that wrote it"), (5, "driftline models register")):
        with closing(sqlite3.connect(tmp_path / DATABASE_FILE)) as file:
            file.execute(f"PRAGMA user_version = {format_}")

        with pytest.raises(ValueError, match=f"has format {format_}.*knows 7.*{fix}"):
            Database(tmp_path)
