"""Kills at any point leave one job for each alert, one champion, and each event once.

``DRIFTLINE_CHAOS_SEEDS=20`` runs each place twenty times; a seed decides at which pass the first
trainer dies, and where the second one does.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from producer.failpoints import EXIT_CODE, FAILPOINTS
from tests.integration.trainer_harness import (
    MODEL,
    N_AFTER,
    N_BEFORE,
    START_MS,
    TrainerHarness,
    until,
)
from trainer.jobs.champions import champion_of
from trainer.jobs.database import Database
from trainer.jobs.job_store import active_jobs, jobs_of

pytestmark = pytest.mark.kafka

SEEDS = int(os.environ.get("DRIFTLINE_CHAOS_SEEDS", "1"))
TRAINERS = [place for place in FAILPOINTS if place.startswith("trainer.")]
PLACES = [
    pytest.param(place, marks=() if number % 18 == 0 else pytest.mark.long)
    for number, place in enumerate(TRAINERS)
]
PASSES = {"trainer.alert.received": 4, "trainer.alert.decided": 4, "trainer.outbox.published": 2}
"""How often a run passes a place, where it is more than once."""


def play(harness: TrainerHarness) -> None:
    """A unit break that is over, drift, and a drift of one more series with the same cause."""
    harness.publish(N_BEFORE, turned=False)
    broken = {
        "kind": "quality",
        "cause": "unit_change",
        "onset_ms": START_MS + 100_000,
        "detected_ms": START_MS + 150_000,
    }
    harness.alert(1, decided_ms=START_MS + 160_000, **broken)
    harness.alert(1, alert_id="over", phase="recovered", decided_ms=START_MS + 199_000, **broken)
    harness.publish(N_AFTER, turned=True)
    partition = next(iter(harness.updates()))[0]
    harness.alert(2, partition=partition)
    harness.alert(3, partition=partition, kind="data", series="a", feature="a")


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("place", PLACES)
def test_a_trainer_killed_anywhere_leaves_one_of_each(
    kafka_broker: str, tmp_path: Path, place: str, seed: int
) -> None:
    chance = random.Random(f"{place} {seed}")  # noqa: S311 - a repeatable schedule
    harness = TrainerHarness(kafka_broker, tmp_path / "data_dir")
    play(harness)

    first = harness.start(f"{place}:{chance.randint(1, PASSES.get(place, 1))}")
    assert first.wait(150) == EXIT_CODE
    if seed % 2:
        again = chance.choice(TRAINERS)  # a place that may lie behind: then it just continues
        second = harness.start(again)
        until(lambda: second.poll() is not None or "promoted" in harness.steps(2))
        second.terminate()
        second.wait(150)
    harness.start()
    until(lambda: "promoted" in harness.steps(2))
    until(lambda: harness.versions()[MODEL].version == "2")
    harness.close()

    assert harness.steps(1) == ["declined"]
    assert harness.steps(2) == ["requested", "started", "succeeded", "promoted"]
    assert harness.steps(3) == ["declined"]
    rules = {e.caused_by: e.rule for e in harness.events() if e.step == "declined"}
    assert rules == {"alert-1": "data_quality", "alert-3": "already_running"}
    rows = {event.numbers["rows"] for event in harness.events() if event.step == "started"}
    assert rows == {N_BEFORE + N_AFTER - 100}  # events of the excluded range do not train
    with closing(Database(harness.data_dir)) as database:
        causes = Counter(job.caused_by for job in jobs_of(database.rows, MODEL))
        champion = champion_of(database.rows, MODEL)
        assert active_jobs(database.rows) == []
    assert causes == Counter(["alert-1", "alert-2", "alert-3"])
    pointer = harness.versions()[MODEL]
    assert champion is not None
    assert (champion.version, champion.artifact_sha256) == ("2", pointer.artifact_sha256)
    assert len({update_id for _, update_id in harness.updates()}) == 2  # repeats have the same id
