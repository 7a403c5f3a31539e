"""From an alert to a champion that a model server loads from MLflow, on a real Kafka."""

from __future__ import annotations

from pathlib import Path

import pytest

from driftline.serving import ChampionModel
from producer.failpoints import EXIT_CODE
from tests.integration.trainer_harness import MODEL, N_AFTER, N_BEFORE, TrainerHarness, until
from tests.mlflow_server import MlflowServer
from trainer.registry.mlflow_registry import MlflowRegistry, registered_name, stored_versions

pytestmark = [pytest.mark.kafka, pytest.mark.long]


def champion_in(registry: MlflowRegistry) -> str | None:
    name = registered_name(MODEL)
    number = registry.client.get_registered_model(name).aliases.get("champion")
    versions = stored_versions(registry.client, MODEL)
    return next((v for v, one in versions.items() if str(one.version) == str(number)), None)


def test_a_trainer_killed_after_a_promotion_moves_the_alias_when_it_is_back(
    kafka_broker: str, mlflow: MlflowServer, tmp_path: Path
) -> None:
    harness = TrainerHarness(kafka_broker, tmp_path / "data_dir")
    registry = MlflowRegistry(mlflow.uri)
    harness.publish(N_BEFORE, turned=False)
    harness.publish(N_AFTER, turned=True)
    harness.alert(1, partition=next(iter(harness.updates()))[0])

    first = harness.start(
        "trainer.promoting.recorded:1", DRIFTLINE_TRAINER__REGISTRY__MLFLOW_URI=mlflow.uri
    )
    assert first.wait(150) == EXIT_CODE
    assert set(registry.published(MODEL)) == {"1", "2"}  # before it was announced
    assert champion_in(registry) != "2"

    harness.start(DRIFTLINE_TRAINER__REGISTRY__MLFLOW_URI=mlflow.uri)
    with ChampionModel(
        MODEL, bootstrap_servers=kafka_broker, registry=registry, topic_prefix=harness.prefix
    ) as served:
        assert served.wait("2", timeout_s=60).sha256 == registry.published(MODEL)["2"]
    until(lambda: champion_in(registry) == "2")
    harness.close()
    assert harness.steps(1) == ["requested", "started", "succeeded", "promoted"]
