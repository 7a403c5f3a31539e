"""From an alert to a champion, on a real Kafka."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.trainer_stage import MODEL, N_AFTER, N_BEFORE, Stage, until

pytestmark = pytest.mark.kafka


@pytest.fixture
def stage(kafka_broker: str, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(kafka_broker, tmp_path / "home")
    yield stage
    stage.close()


def test_drift_leads_to_a_better_champion(stage: Stage) -> None:
    stage.publish(N_BEFORE, turned=False)
    stage.publish(N_AFTER, turned=True, twice=True)
    partition = next(iter(stage.updates()))[0]
    stage.alert(1, partition=partition)
    stage.start()

    until(lambda: "promoted" in stage.steps(1))

    assert stage.steps(1) == ["requested", "started", "succeeded", "promoted"]
    until(lambda: stage.versions()[MODEL].version == "2")
    assert set(stage.versions()) == {MODEL, "m@1", "m@2"}
    told = {event.step: event for event in stage.events()}
    assert told["started"].numbers["rows"] == N_BEFORE + N_AFTER
    assert told["started"].numbers["duplicates"] == 2 * N_AFTER
    assert told["promoted"].challenger == "2"
