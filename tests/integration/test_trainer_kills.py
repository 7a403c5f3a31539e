"""Whatever dies wherever: one job for each alert, one champion, each event once.

``DRIFTLINE_CHAOS_SEEDS=20`` runs each place twenty times; a seed says at which pass the first
trainer dies, and where the second one does.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from producer.failpoint import EXIT_CODE, PLACES
from tests.integration.trainer_stage import MODEL, N_AFTER, N_BEFORE, START_MS, Stage, until
from trainer.jobs import Database, active_jobs, champion_of, jobs_of

pytestmark = pytest.mark.kafka

SEEDS = int(os.environ.get("DRIFTLINE_CHAOS_SEEDS", "1"))
TRAINERS = [place for place in PLACES if place.startswith("trainer.")]
PASSES = {"trainer.alert.heard": 4, "trainer.alert.decided": 4, "trainer.relay.published": 2}
"""How often a run passes a place, where it is more than once."""


def play(stage: Stage) -> None:
    """A unit break that is over, drift, and one more series that tells of it."""
    stage.publish(N_BEFORE, turned=False)
    broken = {
        "kind": "quality", "cause": "unit_change", "onset_ms": START_MS + 100_000,
        "detected_ms": START_MS + 150_000,
    }  # fmt: skip
    stage.alert(1, decided_ms=START_MS + 160_000, **broken)
    stage.alert(1, alert_id="over", phase="recovered", decided_ms=START_MS + 199_000, **broken)
    stage.publish(N_AFTER, turned=True)
    partition = next(iter(stage.updates()))[0]
    stage.alert(2, partition=partition)
    stage.alert(3, partition=partition, kind="data", series="a", feature="a")


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("place", TRAINERS)
def test_a_trainer_killed_anywhere_leaves_one_of_each(
    kafka_broker: str, tmp_path: Path, place: str, seed: int
) -> None:
    chance = random.Random(f"{place} {seed}")  # noqa: S311 - a repeatable schedule
    stage = Stage(kafka_broker, tmp_path / "home")
    play(stage)

    first = stage.start(f"{place}:{chance.randint(1, PASSES.get(place, 1))}")
    assert first.wait(150) == EXIT_CODE
    if seed % 2:
        again = chance.choice(TRAINERS)  # a place that may lie behind: then it just goes on
        second = stage.start(again)
        until(lambda: second.poll() is not None or "promoted" in stage.steps(2))
        second.terminate()
        second.wait(150)
    stage.start()
    until(lambda: "promoted" in stage.steps(2))
    until(lambda: stage.versions()[MODEL].version == "2")
    stage.close()

    assert stage.steps(1) == ["refused"]
    assert stage.steps(2) == ["requested", "started", "succeeded", "promoted"]
    assert stage.steps(3) == ["refused"]
    rules = {e.caused_by: e.rule for e in stage.events() if e.step == "refused"}
    assert rules == {"alert-1": "data_quality", "alert-3": "already_running"}
    rows = {event.numbers["rows"] for event in stage.events() if event.step == "started"}
    assert rows == {N_BEFORE + N_AFTER - 100}  # the broken span trains nobody
    with closing(Database(stage.home)) as database:
        causes = Counter(job.caused_by for job in jobs_of(database.rows, MODEL))
        champion = champion_of(database.rows, MODEL)
        assert active_jobs(database.rows) == []
    assert causes == Counter(["alert-1", "alert-2", "alert-3"])
    pointer = stage.versions()[MODEL]
    assert champion is not None
    assert (champion.version, champion.artifact_sha256) == ("2", pointer.artifact_sha256)
    assert len({update_id for _, update_id in stage.updates()}) == 2  # repeats have the same id
