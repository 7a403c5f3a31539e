"""A retrain forms a pool, labels renew its weights, and a model server serves its vote."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pytest

from driftline.serving import ChampionModel
from producer.failpoints import EXIT_CODE
from stream_monitor.reference.profile import profile_to_data
from tests.integration.trainer_harness import MODEL, N_AFTER, N_BEFORE, TrainerHarness, until
from trainer.contracts import RetrainEvent
from trainer.jobs.comparisons import find_comparison, read_pool_weights
from trainer.jobs.database import Database
from trainer.registry.registry import registry_of

pytestmark = [pytest.mark.kafka, pytest.mark.long]  # two restarts of trainer and scorer

N_LATER: Final = 600
POOL: Final[dict[str, Any]] = {
    "DRIFTLINE_TRAINER__MODE": "pool",
    "DRIFTLINE_TRAINER__SWAP__MAX_EVENTS_PER_S": "100000",
}
FRAME: Final = pd.DataFrame(np.random.default_rng(0).normal(size=(50, 2)), columns=["a", "b"])


def reweighted(harness: TrainerHarness) -> list[RetrainEvent]:
    return [event for event in harness.events() if event.step == "reweighted"]


def n_labelled(harness: TrainerHarness) -> int:
    with closing(Database(harness.data_dir)) as database:
        found = find_comparison(database.rows, MODEL)
    return 0 if found is None else found.n_labelled


@pytest.fixture
def harness(kafka_broker: str, tmp_path: Path) -> Iterator[TrainerHarness]:
    harness = TrainerHarness(kafka_broker, tmp_path / "data_dir")
    yield harness
    harness.close()


def test_a_pool_serves_the_vote_with_weights_that_labels_renew_once(
    harness: TrainerHarness,
) -> None:
    """The trainer is killed after it has recorded the new weights, before it publishes them."""
    harness.publish(N_BEFORE + N_AFTER, turned=False)  # both versions are good
    harness.alert(1, partition=next(iter(harness.updates()))[0])
    first = harness.start(**POOL)
    until(lambda: "promoted" in harness.steps(1))
    until(lambda: n_labelled(harness) == N_BEFORE + N_AFTER)
    first.terminate()
    first.wait(150)
    assert reweighted(harness) == []  # the labels before it made the first weights

    harness.publish(N_LATER, turned=False)
    assert harness.start("trainer.labels.recorded", **POOL).wait(150) == EXIT_CODE
    harness.start(**POOL)
    until(lambda: reweighted(harness) != [])
    until(lambda: n_labelled(harness) == N_BEFORE + N_AFTER + N_LATER)
    (event,) = reweighted(harness)
    registry = registry_of(harness.data_dir)
    pointer = harness.versions()[MODEL]
    with ChampionModel(
        MODEL,
        bootstrap_servers=harness.broker,
        registry=registry.folder,
        topic_prefix=harness.prefix,
    ) as model:
        served = model.wait(timeout_s=90)
        scores = served.estimator.predict_proba(FRAME)

    assert (pointer.version, event.champion, event.rule) == ("2", "2", "pool")
    weights = {member.version: member.weight for member in pointer.members}
    assert weights.keys() == {"1", "2"}
    assert event.numbers == {f"weight_of_{v}": weight for v, weight in weights.items()}
    assert read_pool_weights(harness.data_dir, MODEL) == ("2", weights)
    expected = sum(
        weight * registry.load(registry.manifest(MODEL, v).artifact_sha256).predict_proba(FRAME)
        for v, weight in weights.items()
    )
    assert scores == pytest.approx(expected)
    manifest = registry.manifest(MODEL, "2")
    assert manifest.pool is not None
    announced = harness.versions()["m@2"]
    assert announced.profile == manifest.pool.profile != profile_to_data(manifest.reference())
