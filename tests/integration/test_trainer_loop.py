"""From an alert to a champion, or to a reason why not, on a real Kafka."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from producer.routing import partition_of
from tests.integration.trainer_stage import HERE, MODEL, N_AFTER, N_BEFORE, Stage, until
from trainer.contracts import RetrainEvent
from trainer.registry.registry import Registry

pytestmark = pytest.mark.kafka


@pytest.fixture
def stage(kafka_broker: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stage]:
    stage = Stage(kafka_broker, tmp_path / "home", shards=getattr(request, "param", 1))
    yield stage
    stage.close()


def partition_of_log(stage: Stage) -> int:
    return next(iter(stage.updates()))[0]


def drift(stage: Stage, *, twice: bool = False) -> None:
    stage.publish(N_BEFORE, turned=False)
    stage.publish(N_AFTER, turned=True, twice=twice)


def told(stage: Stage, number: int, step: str) -> RetrainEvent:
    until(lambda: step in stage.steps(number))
    found = (e for e in stage.events() if e.caused_by == f"alert-{number}" and e.step == step)
    return next(found)


def command(stage: Stage, *arguments: str) -> tuple[int, str, dict[str, object]]:
    done = subprocess.run(
        [
            sys.executable, "-m", "driftline", *arguments, "--home", str(stage.home),
            "--prefix", stage.prefix, "--bootstrap-servers", stage.broker,
        ],
        cwd=HERE, env=stage.environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stderr, msgspec.json.decode(done.stdout) if done.stdout else {}


def test_drift_leads_to_a_better_champion(stage: Stage) -> None:
    drift(stage, twice=True)
    stage.alert(1, partition=partition_of_log(stage))
    stage.start()

    promoted = told(stage, 1, "promoted")
    until(lambda: stage.versions()[MODEL].version == "2")

    assert stage.steps(1) == ["requested", "started", "succeeded", "promoted"]
    assert set(stage.versions()) == {MODEL, "m@1", "m@2"}
    started = told(stage, 1, "started")
    assert started.numbers["rows"] == N_BEFORE + N_AFTER
    assert started.numbers["duplicates"] == 2 * N_AFTER
    assert (promoted.challenger, promoted.rule) == ("2", "better")
    assert promoted.numbers["champion_predictions"] == "served"
    manifest = Registry(stage.home / "registry").manifest(MODEL, "2")
    assert manifest.training["sha256"] == started.numbers["dataset_sha256"]
    assert manifest.artifact_sha256 == stage.versions()[MODEL].artifact_sha256


def test_a_job_waits_for_labels_and_ends_when_the_drift_does(stage: Stage) -> None:
    stage.publish(N_BEFORE, turned=False)
    stage.publish(N_AFTER, turned=True, labels=False)
    stage.alert(1, partition=partition_of_log(stage))
    stage.start()
    until(lambda: stage.steps(1) == ["requested"])

    over = stage.alert(1, alert_id="over", phase="recovered", partition=partition_of_log(stage))

    assert told(stage, 1, "refused").rule == "recovered"
    assert told(stage, 1, "refused").time_ms == over.decided_ms
    assert stage.versions()[MODEL].version == "1"


def test_a_job_gives_up_when_labels_never_come(stage: Stage) -> None:
    stage.publish(N_BEFORE, turned=False)
    stage.alert(1, partition=partition_of_log(stage))
    stage.publish(200, turned=True)
    stage.start(DRIFTLINE_TRAINER__DECISION__GIVE_UP_AFTER_MS="100000")

    refused = told(stage, 1, "refused")

    assert refused.rule == "too_few_labels"
    assert refused.numbers == {"labelled": 200, "min_labelled_events": 1_500}


def test_a_factory_that_fails_leaves_the_champion_and_its_reason(stage: Stage) -> None:
    drift(stage)
    stage.alert(1, partition=partition_of_log(stage))
    stage.start(factory="small_factories:broken")

    failed = told(stage, 1, "failed")

    assert failed.rule == "raised"
    assert "no such table: features" in failed.reason
    assert stage.versions()[MODEL].version == "1"


def test_a_challenger_that_is_no_better_is_rejected_and_kept(stage: Stage) -> None:
    stage.publish(N_BEFORE + N_AFTER, turned=False)
    stage.alert(1, partition=partition_of_log(stage))
    stage.start()

    rejected = told(stage, 1, "rejected")
    stage.alert(2, partition=partition_of_log(stage))

    assert rejected.rule == "not_better"
    assert told(stage, 2, "refused").rule == "cooldown"
    assert stage.versions()[MODEL].version == "1"
    assert Registry(stage.home / "registry").manifest(MODEL, "2").caused_by == "alert-1"


@pytest.mark.parametrize("stage", [4], indirect=True)
def test_a_hot_model_is_read_from_all_of_its_partitions(stage: Stage) -> None:
    drift(stage)
    partitions = {partition for partition, _ in stage.updates()}
    assert len(partitions) > 1
    assert partition_of(MODEL, 4) in partitions  # for servers that do not know its shards
    stage.alert(1, partition=min(partitions), onset_offset=0)
    stage.start()

    until(lambda: "promoted" in stage.steps(1))

    assert told(stage, 1, "started").numbers["rows"] == N_BEFORE + N_AFTER
    updates = stage.updates()
    assert {partition for partition, _ in updates} == partitions
    assert len(updates) == 2 * len(partitions)


def test_a_person_looks_retrains_and_goes_back_without_a_trainer(stage: Stage) -> None:
    stage.publish(N_BEFORE, turned=False)
    code, _, found = command(stage, "retrain", MODEL, "--dry-run", "--json")
    assert (code, found["would_train"], found["labelled"]) == (0, False, N_BEFORE)
    stage.publish(2 * N_AFTER, turned=True)

    code, _, found = command(stage, "retrain", MODEL, "--now", "--json")
    assert (code, found["outcome"], found["challenger"]) == (0, "promoted", "2")
    assert stage.versions()[MODEL].version == "2"

    code, _, found = command(stage, "models", "rollback", MODEL, "--json")
    assert (code, found["outcome"]) == (0, "rolled_back")
    assert stage.versions()[MODEL].version == "1"

    code, said, _ = command(stage, "models", "promote", MODEL, "7")
    assert code == 1
    assert "m@7 is not in the registry; stored versions: 1, 2" in said


def test_a_trainer_that_runs_takes_a_persons_request(stage: Stage) -> None:
    drift(stage)
    stage.start()
    until((stage.home / "trainer.lock").exists)

    code, _, found = command(stage, "retrain", MODEL, "--now", "--json")
    assert (code, found["outcome"]) == (0, "promoted")

    again = stage.start()
    assert again.wait(150) == 2
