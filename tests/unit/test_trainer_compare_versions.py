"""When a stored version replaces the champion, and when enough new labels ask for a retrain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from tests.builders import alert
from tests.unit.scored_stream import HOUR_MS, MODEL
from tests.unit.trainer_alerts import a_job
from trainer.contracts import RetrainEvent
from trainer.jobs.champions import Champion, set_champion
from trainer.jobs.comparisons import Position, find_comparison
from trainer.jobs.database import Database
from trainer.jobs.deferred_alerts import deferred_alerts
from trainer.jobs.job import Job
from trainer.jobs.job_store import (
    active_jobs,
    add_job,
    history_of,
    jobs_of,
    record_excluded_range,
    transition,
)
from trainer.jobs.outbox import unsent_records
from trainer.jobs.quality_episodes import record_quality_episode
from trainer.policy.retrain_policy import DAY_MS
from trainer.registry.manifest import GATE_DECISION, Manifest
from trainer.service.alert_consumer import handle_alert, reconsider
from trainer.service.compare_versions import RecordedEvents, record_scored
from trainer.service.context import TrainerContext, context_from_settings
from trainer.service.scored_events import ScoredEvents
from trainer.settings import Settings

BLOCK, COOLDOWN = 10, 50
NOW_MS = 400 * DAY_MS


class Follower:
    """Records scored events one after the other, from position to position."""

    def __init__(self, database: Database, context: TrainerContext) -> None:
        self.database, self.context = database, context
        self.offset = 0
        self.now_ms = NOW_MS

    def record(self, n: int = 100, **changes: Any) -> RecordedEvents:
        """Record ``n`` events on which version 1 is better than the champion, version 2."""
        at = Position(partition=0, next_offset=self.offset, reread_offset=self.offset)
        after = msgspec.structs.replace(at, next_offset=self.offset + 2 * n)
        scored = ScoredEvents(
            model=MODEL,
            before=[at] if self.offset else [],
            after=[after],
            n_labelled=n,
            newest_ms=self.now_ms,
            times_ms=[self.now_ms] * n,
            versions=["2"] * n,
            losses={"1": [0.1] * n, "2": [0.6] * n},
        )
        self.offset = after.next_offset
        with self.database.transaction() as rows:
            found = record_scored(rows, msgspec.structs.replace(scored, **changes), self.context)
        assert found is not None
        self._move_reread(after)
        return found

    def _move_reread(self, position: Position) -> None:
        with self.database.transaction() as rows:
            rows.execute("UPDATE label_positions SET reread_offset = ?", (position.next_offset,))


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every version is in the registry."""
    manifest = msgspec.json.decode(
        msgspec.json.encode(
            {
                "model": MODEL,
                "version": "1",
                "artifact_sha256": "ab",
                "artifact_bytes": 1,
                "time_ms": 0,
                "factory": "f:f",
                "caused_by": "x",
                "training": {},
                "metrics": {},
                "libraries": {},
                "profile": {},
            }
        ),
        type=Manifest,
    )
    monkeypatch.setattr(TrainerContext, "manifest", lambda *_: manifest)


def context_of(folder: Path, mode: str = "auto", **swap: Any) -> TrainerContext:
    values: dict[str, Any] = {
        "data_dir": folder,
        "factories": {MODEL: "f:f"},
        "mode": mode,
        "swap": {"block_events": BLOCK, "cooldown_events": COOLDOWN} | swap,
    }
    return context_from_settings(Settings.model_validate({"trainer": values}))


@pytest.fixture
def follower(database: Database, tmp_path: Path, stored: None) -> Follower:  # noqa: ARG001
    with database.transaction() as rows:
        set_champion(rows, Champion(MODEL, "2", "ab", NOW_MS - DAY_MS, "first"))
    return Follower(database, context_of(tmp_path))


def published(database: Database) -> list[RetrainEvent]:
    return [
        msgspec.json.decode(one.value, type=RetrainEvent) for one in unsent_records(database.rows)
    ]


def end(database: Database, outcome: Any = "promoted") -> None:
    with database.transaction() as rows:
        (job,) = active_jobs(rows)
        transition(rows, job, job.ended(outcome))


def test_a_better_version_becomes_a_job_that_promotes_it_with_its_numbers(
    follower: Follower,
) -> None:
    found = follower.record(200)

    (job,) = active_jobs(follower.database.rows)
    assert found.jobs == (job,)
    assert (job.state, job.champion, job.challenger) == ("promoting", "2", "1")
    assert (job.work.rule, job.work.artifact_sha256, job.asked_ms) == ("swap", "ab", NOW_MS)
    assert job.work.numbers["improvement"] == pytest.approx(0.5)
    assert job.work.numbers["wealth"] >= job.work.numbers["threshold"]
    (event,) = published(follower.database)
    assert (event.step, event.rule, event.numbers) == ("requested", "swap", job.work.numbers)
    assert event.reason == (
        "The stored version 1 is better than the champion 2: its loss is lower by 0.5 on average "
        f"over {job.work.numbers['labelled_events']} labelled events."
    )


def test_a_swap_is_no_retrain(follower: Follower) -> None:
    follower.record(200)
    end(follower.database)

    history = history_of(
        follower.database.rows, MODEL, episode_id=None, now_ms=NOW_MS, has_factory=True
    )

    assert (history.asked_ms, history.finished_ms) == ((), None)


def test_no_swap_while_the_versions_are_equal_or_it_is_switched_off(follower: Follower) -> None:
    follower.record(500, losses={"1": [0.3] * 500, "2": [0.3] * 500})
    assert follower.record(500, losses={}).n_compared == 0  # what a process sends if it is off

    assert active_jobs(follower.database.rows) == []
    found = find_comparison(follower.database.rows, MODEL)
    assert found is not None
    assert (found.n_labelled, found.n_scored) == (1_000, 500)


def test_the_test_begins_again_when_a_person_promotes(follower: Follower) -> None:
    follower.record(COOLDOWN - BLOCK)
    with follower.database.transaction() as rows:
        set_champion(rows, Champion(MODEL, "2", "ab", NOW_MS, "person:1"))
    assert follower.record(COOLDOWN - BLOCK).jobs == ()

    assert len(follower.record(100).jobs) == 1


def test_events_of_broken_data_and_of_a_missing_champion_prove_nothing(follower: Follower) -> None:
    with follower.database.transaction() as rows:
        record_excluded_range(
            rows, alert(episode_id="q", onset_ms=NOW_MS, cause="unit_change", severity="high")
        )

    assert follower.record(500).jobs == ()
    follower.now_ms -= HOUR_MS
    assert follower.record(500, losses={"1": [0.1] * 500}).n_compared == 0
    assert len(follower.record(500).jobs) == 1


def test_events_count_where_only_some_values_of_a_feature_are_broken(follower: Follower) -> None:
    odd = alert(episode_id="q", kind="quality", onset_ms=NOW_MS, cause="odd_values")
    with follower.database.transaction() as rows:
        record_excluded_range(rows, odd)
        record_quality_episode(rows, odd)

    assert len(follower.record(500).jobs) == 1


@pytest.mark.parametrize("state", ["reading", "fitting", "promoting"])
def test_no_swap_while_a_job_trains_or_promotes(follower: Follower, state: Any) -> None:
    with follower.database.transaction() as rows:
        add_job(rows, _job_of_alert(state))

    assert follower.record(500).jobs == ()
    end(follower.database, "rejected")
    assert len(follower.record(BLOCK).jobs) == 1  # the evidence is kept


def _job_of_alert(state: Any) -> Job:
    return a_job(model=MODEL, champion="2", state=state, asked_ms=NOW_MS)


def test_a_swap_supersedes_a_job_that_waits_for_labels(follower: Follower) -> None:
    """After the swap the alert is about an old version; it counts again if that one returns."""
    database, context = follower.database, follower.context
    with database.transaction() as rows:
        drift = alert(model=MODEL, version="2", kind="concept", decided_ms=NOW_MS)
        assert handle_alert(rows, drift, context, wall_ms=NOW_MS).action == "request"

    follower.record(200)

    waiting, swap = jobs_of(database.rows, MODEL)
    assert (waiting.outcome, waiting.work.rule, swap.state) == ("cancelled", "swapped", "promoting")
    assert [event.step for event in published(database)] == ["requested", "declined", "requested"]
    end(database)
    with database.transaction() as rows:
        set_champion(rows, Champion(MODEL, "1", "ab", NOW_MS, swap.caused_by))
        (deferred,) = deferred_alerts(rows)
        assert reconsider(rows, deferred, context, wall_ms=NOW_MS + DAY_MS) is None
        set_champion(rows, Champion(MODEL, "2", "ab", NOW_MS + 1, "person:1"))
        again = reconsider(rows, deferred, context, wall_ms=NOW_MS + DAY_MS)
    assert again is not None
    assert again.action == "request"


def test_in_manual_mode_a_version_is_proposed_once_and_a_waiting_retrain_stays(
    database: Database,
    tmp_path: Path,
    stored: None,  # noqa: ARG001
) -> None:
    with database.transaction() as rows:
        set_champion(rows, Champion(MODEL, "2", "ab", NOW_MS - DAY_MS, "first"))
        add_job(rows, _job_of_alert("waiting"))
    follower = Follower(database, context_of(tmp_path, mode="manual"))

    assert follower.record(500).jobs == ()
    end(database, "rejected")
    assert [job.work.rule for job in follower.record(500).jobs] == ["swap"]
    end(database, "proposed")
    assert follower.record(2_000).jobs == ()


def test_a_swap_beyond_the_budget_waits_and_is_reported_once(
    database: Database,
    tmp_path: Path,
    stored: None,  # noqa: ARG001
) -> None:
    with database.transaction() as rows:
        set_champion(rows, Champion(MODEL, "2", "ab", NOW_MS - DAY_MS, "first"))
    follower = Follower(database, context_of(tmp_path, max_swaps_per_day=1))
    follower.record(200)
    end(database)  # it did not promote: the champion is the same

    (declined,) = follower.record(500).jobs
    assert follower.record(500).jobs == ()

    assert (declined.state, declined.outcome, declined.work.rule) == (
        "done",
        "declined",
        "swap_budget",
    )
    assert "at most 1 are allowed: the champion stays in service" in declined.work.reason
    assert [e.step for e in published(database)] == ["requested", "declined"]
    follower.now_ms += DAY_MS
    assert [job.work.rule for job in follower.record(BLOCK).jobs] == ["swap"]


def grown(n_fresh: int, rows: int | None = 3_000, version: str = "2") -> dict[str, Any]:
    return {"n_fresh": n_fresh, "newest_rows": rows, "newest_version": version, "losses": {}}


def test_a_retrain_starts_when_the_labelled_events_have_grown(follower: Follower) -> None:
    assert follower.record(100, **grown(2_999)).jobs == ()

    (job,) = follower.record(100, **grown(1)).jobs

    assert (job.state, job.work.rule, job.work.alert) == ("waiting", "growth", None)
    (part,) = job.work.ranges
    assert (part.partition, part.start, part.end) == (0, 0, 400)
    assert job.work.numbers == {"fresh": 3_000, "training_rows": 3_000}
    end(follower.database, "failed")
    follower.now_ms += DAY_MS
    assert follower.record(100, **grown(5_999)).jobs == ()  # not again before the next doubling
    assert len(follower.record(100, **grown(1)).jobs) == 1


def test_growth_waits_for_the_limits_of_retraining(follower: Follower) -> None:
    with follower.database.transaction() as rows:
        add_job(rows, _job_of_alert("asked").ended("rejected"))

    assert follower.record(100, **grown(3_000)).jobs == ()  # cooldown
    follower.now_ms += DAY_MS
    assert len(follower.record(100, **grown(0)).jobs) == 1


@pytest.mark.parametrize("rows", [None, 100_000])
def test_growth_needs_known_training_rows_and_as_many_new_ones(
    follower: Follower, rows: int | None
) -> None:
    assert follower.record(100, **grown(9_000, rows)).jobs == ()


def test_growth_counts_from_the_newest_version(follower: Follower) -> None:
    follower.record(100, **grown(2_999))
    follower.record(100, **grown(0, version="3"))

    assert follower.record(100, **grown(2_999, version="3")).jobs == ()
    (job,) = follower.record(100, **grown(1, version="3")).jobs
    assert job.work.ranges[0].start == 200


def test_nan_losses_are_sent_as_they_are() -> None:
    scored = ScoredEvents(model=MODEL, before=[], after=[], losses={"1": [float("nan")]})

    found = msgspec.msgpack.decode(msgspec.msgpack.encode(scored), type=ScoredEvents)

    assert np.isnan(found.losses["1"]).all()


@pytest.mark.parametrize(
    ("caused_by", "rule", "mode", "needed"),
    [
        ("growth:1", "not_worse", "auto", 14_000),
        ("growth:1", "better", "auto", 3_000),
        ("growth:1", "better", "manual", 14_000),
        ("alert-1", "not_worse", "auto", 6_000),
        ("alert-1", "better", "auto", 6_000),
    ],
)
def test_a_window_of_few_rows_makes_growth_start_soon_only_if_it_proved_better(
    database: Database,
    tmp_path: Path,
    stored: None,  # noqa: ARG001
    monkeypatch: pytest.MonkeyPatch,
    caused_by: str,
    rule: str,
    mode: str,
    needed: int,
) -> None:
    """7,000 rows and as many new ones; version 3 trains on 6,000 of these.

    After a retrain for drift the rows count that it was made from.
    """
    with database.transaction() as rows:
        set_champion(rows, Champion(MODEL, "2", "ab", NOW_MS - DAY_MS, "first"))
    follower = Follower(database, context_of(tmp_path, mode=mode))
    manifest = follower.context.manifest(MODEL, "3")
    assert manifest is not None
    made = msgspec.structs.replace(
        manifest, caused_by=caused_by, metrics={GATE_DECISION: {"rule": rule}}
    )
    monkeypatch.setattr(TrainerContext, "manifest", lambda *_: made)
    follower.record(100, **grown(7_000, 7_000))
    end(follower.database)
    follower.now_ms += DAY_MS

    assert follower.record(100, **grown(needed - 1, 6_000, version="3")).jobs == ()
    assert len(follower.record(100, **grown(1, 6_000, version="3")).jobs) == 1
