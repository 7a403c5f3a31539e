"""From an alert to a champion, or to a reason why not, on a real Kafka."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from producer.routing import partition_of
from tests.integration.trainer_harness import HERE, MODEL, N_AFTER, N_BEFORE, TrainerHarness, until
from trainer.contracts import RetrainEvent
from trainer.registry.registry import Registry

pytestmark = pytest.mark.kafka


@pytest.fixture
def harness(
    kafka_broker: str, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[TrainerHarness]:
    harness = TrainerHarness(
        kafka_broker, tmp_path / "data_dir", shards=getattr(request, "param", 1)
    )
    yield harness
    harness.close()


def partition_of_log(harness: TrainerHarness) -> int:
    return next(iter(harness.updates()))[0]


def drift(harness: TrainerHarness, *, twice: bool = False) -> None:
    harness.publish(N_BEFORE, turned=False)
    harness.publish(N_AFTER, turned=True, twice=twice)


def step_event(harness: TrainerHarness, number: int, step: str) -> RetrainEvent:
    until(lambda: step in harness.steps(number))
    found = (e for e in harness.events() if e.caused_by == f"alert-{number}" and e.step == step)
    return next(found)


def command(harness: TrainerHarness, *arguments: str) -> tuple[int, str, dict[str, object]]:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "driftline",
            *arguments,
            "--data-dir",
            str(harness.data_dir),
            "--prefix",
            harness.prefix,
            "--bootstrap-servers",
            harness.broker,
        ],
        cwd=HERE,
        env=harness.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr, msgspec.json.decode(done.stdout) if done.stdout else {}


@pytest.mark.smoke
def test_drift_leads_to_a_better_champion(harness: TrainerHarness) -> None:
    drift(harness, twice=True)
    harness.alert(1, partition=partition_of_log(harness))
    harness.start()

    promoted = step_event(harness, 1, "promoted")
    until(lambda: harness.versions()[MODEL].version == "2")

    assert harness.steps(1) == ["requested", "started", "succeeded", "promoted"]
    assert set(harness.versions()) == {MODEL, "m@1", "m@2"}
    started = step_event(harness, 1, "started")
    assert started.numbers["rows"] == N_BEFORE + N_AFTER
    assert started.numbers["duplicates"] == 2 * N_AFTER
    assert (promoted.challenger, promoted.rule) == ("2", "better")
    assert promoted.numbers["champion_predictions"] == "served"
    manifest = Registry(harness.data_dir / "registry").manifest(MODEL, "2")
    assert manifest.training["sha256"] == started.numbers["dataset_sha256"]
    assert manifest.artifact_sha256 == harness.versions()[MODEL].artifact_sha256


def test_a_job_waits_for_labels_and_ends_when_the_drift_does(harness: TrainerHarness) -> None:
    harness.publish(N_BEFORE, turned=False)
    harness.publish(N_AFTER, turned=True, labels=False)
    harness.alert(1, partition=partition_of_log(harness))
    harness.start()
    until(lambda: harness.steps(1) == ["requested"])

    over = harness.alert(1, alert_id="over", phase="recovered", partition=partition_of_log(harness))

    assert step_event(harness, 1, "declined").rule == "recovered"
    assert step_event(harness, 1, "declined").time_ms == over.decided_ms
    assert harness.versions()[MODEL].version == "1"


def test_a_job_gives_up_when_labels_never_come(harness: TrainerHarness) -> None:
    harness.publish(N_BEFORE, turned=False)
    harness.alert(1, partition=partition_of_log(harness))
    harness.publish(200, turned=True)
    harness.start(DRIFTLINE_TRAINER__POLICY__GIVE_UP_AFTER_MS="100000")

    declined = step_event(harness, 1, "declined")

    assert declined.rule == "too_few_labels"
    assert declined.numbers == {"labelled": 200, "min_labelled_events": 1_500}


@pytest.mark.long
def test_a_factory_that_fails_leaves_the_champion_and_its_reason(harness: TrainerHarness) -> None:
    drift(harness)
    harness.alert(1, partition=partition_of_log(harness))
    harness.start(factory="small_factories:broken")

    failed = step_event(harness, 1, "failed")

    assert failed.rule == "raised"
    assert "no such table: features" in failed.reason
    assert harness.versions()[MODEL].version == "1"


@pytest.mark.long
def test_a_challenger_that_is_no_better_is_rejected_and_kept(harness: TrainerHarness) -> None:
    harness.publish(N_BEFORE + N_AFTER, turned=False)
    harness.alert(1, partition=partition_of_log(harness))
    harness.start(DRIFTLINE_TRAINER__GATE__PROMOTE="if_better")

    rejected = step_event(harness, 1, "rejected")
    harness.alert(2, partition=partition_of_log(harness))

    assert rejected.rule == "not_better"
    assert step_event(harness, 2, "declined").rule == "cooldown"
    assert harness.versions()[MODEL].version == "1"
    assert Registry(harness.data_dir / "registry").manifest(MODEL, "2").caused_by == "alert-1"


@pytest.mark.parametrize("harness", [4], indirect=True)
@pytest.mark.long
def test_a_hot_model_is_read_from_all_of_its_partitions(harness: TrainerHarness) -> None:
    drift(harness)
    partitions = {partition for partition, _ in harness.updates()}
    assert len(partitions) > 1
    assert partition_of(MODEL, 4) in partitions  # for servers that do not know its shards
    harness.alert(1, partition=min(partitions), onset_offset=0)
    harness.start()

    until(lambda: "promoted" in harness.steps(1))

    assert step_event(harness, 1, "started").numbers["rows"] == N_BEFORE + N_AFTER
    updates = harness.updates()
    assert {partition for partition, _ in updates} == partitions
    assert len(updates) == 2 * len(partitions)


def test_a_person_looks_retrains_and_goes_back_without_a_trainer(harness: TrainerHarness) -> None:
    harness.publish(N_BEFORE, turned=False)
    code, _, found = command(harness, "retrain", MODEL, "--dry-run", "--json")
    assert (code, found["would_train"], found["labelled"]) == (0, False, N_BEFORE)
    harness.publish(2 * N_AFTER, turned=True)

    code, _, found = command(harness, "retrain", MODEL, "--now", "--json")
    assert (code, found["outcome"], found["challenger"]) == (0, "promoted", "2")
    assert harness.versions()[MODEL].version == "2"

    code, _, found = command(harness, "models", "rollback", MODEL, "--json")
    assert (code, found["outcome"]) == (0, "rolled_back")
    assert harness.versions()[MODEL].version == "1"

    code, output, _ = command(harness, "models", "promote", MODEL, "7")
    assert code == 1
    assert "m@7 is not in the registry; stored versions: 1, 2" in output


def test_in_manual_mode_a_person_promotes_with_the_command_of_the_proposal(
    harness: TrainerHarness,
) -> None:
    drift(harness)
    harness.alert(1, partition=partition_of_log(harness))
    harness.start(DRIFTLINE_TRAINER__MODE="manual")

    proposed = step_event(harness, 1, "proposed")

    assert harness.steps(1) == ["requested", "started", "succeeded", "proposed"]
    assert harness.versions()[MODEL].version == "1"
    assert (proposed.challenger, proposed.rule) == ("2", "better")
    words = str(proposed.numbers["command"]).split()
    assert proposed.reason.endswith(" ".join(words))
    assert words[:5] == ["driftline", "models", "promote", MODEL, "2"]
    code, _, found = command(harness, *words[1:5], "--json")
    assert (code, found["outcome"]) == (0, "promoted")
    until(lambda: harness.versions()[MODEL].version == "2")


@pytest.mark.long
def test_a_trainer_that_runs_takes_a_persons_request(harness: TrainerHarness) -> None:
    drift(harness)
    harness.start()
    until((harness.data_dir / "trainer.lock").exists)

    code, _, found = command(harness, "retrain", MODEL, "--now", "--json")
    assert (code, found["outcome"]) == (0, "promoted")

    again = harness.start()
    assert again.wait(150) == 2
