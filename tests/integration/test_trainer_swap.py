"""The trainer compares stored versions on labelled events, and swaps to a better one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from producer.failpoints import EXIT_CODE
from stream_monitor.reference.frame import profile_from_frame
from tests.integration.trainer_harness import HOUR_MS, MODEL, START_MS, TrainerHarness, until, world
from trainer.contracts import RetrainEvent
from trainer.jobs.comparisons import find_comparison
from trainer.jobs.database import Database
from trainer.service.compare_versions import SWAP_RULE
from trainer.service.register import register_version

pytestmark = pytest.mark.kafka

N_TURNED, N_BACK = 800, 1_000
FAST: Final[dict[str, Any]] = {"DRIFTLINE_TRAINER__SWAP__COOLDOWN_EVENTS": "200"}


@pytest.fixture
def harness(kafka_broker: str, tmp_path: Path) -> Iterator[TrainerHarness]:
    """Version 1 is good before the drift; version 2, the champion, is good after it."""
    harness = TrainerHarness(kafka_broker, tmp_path / "data_dir")
    x, y = world(7, 1_200, turned=True)
    frame = pd.DataFrame(x, columns=["a", "b"])
    estimator = LogisticRegression().fit(frame, y)
    frame = frame.assign(late=y, score=estimator.predict_proba(frame)[:, 1])
    profile = profile_from_frame(
        frame,
        model=MODEL,
        version="2",
        prediction="score",
        label="late",
        features=["a", "b"],
        task="binary",
    )
    register_version(
        estimator,
        profile,
        data_dir=harness.data_dir,
        bootstrap_servers=harness.broker,
        prefix=harness.prefix,
        time_ms=START_MS - HOUR_MS + 1,
    )
    yield harness
    harness.close()


def swaps(harness: TrainerHarness) -> list[RetrainEvent]:
    return [event for event in harness.events() if event.rule == SWAP_RULE]


def n_labelled(harness: TrainerHarness) -> int:
    with closing(Database(harness.data_dir)) as database:
        found = find_comparison(database.rows, MODEL)
    return 0 if found is None else found.n_labelled


def test_the_concept_flips_back_and_the_version_before_serves_again_without_a_fit(
    harness: TrainerHarness,
) -> None:
    harness.publish(N_TURNED, turned=True)
    harness.start(**FAST)
    until(lambda: n_labelled(harness) == N_TURNED)
    assert swaps(harness) == []

    harness.publish(N_BACK, turned=False)
    until(lambda: harness.versions()[MODEL].version == "1")
    until(lambda: n_labelled(harness) == N_TURNED + N_BACK)

    requested, promoted = swaps(harness)
    assert (requested.step, promoted.step) == ("requested", "promoted")
    assert (promoted.champion, promoted.challenger) == ("2", "1")
    assert promoted.numbers["improvement"] > 0.05  # type: ignore[operator]
    assert promoted.numbers["wealth"] >= promoted.numbers["threshold"]  # type: ignore[operator]
    assert "version 1 is better than the champion 2" in promoted.reason
    assert [event for event in harness.events() if event.step == "started"] == []
    assert len({update_id for _, update_id in harness.updates()}) == 3  # version 1 again, at last


@pytest.mark.long
@pytest.mark.parametrize("place", ["trainer.labels.scored", "trainer.labels.recorded"])
def test_a_trainer_killed_between_labels_counts_each_once_and_swaps_once(
    harness: TrainerHarness, place: str
) -> None:
    harness.publish(N_TURNED, turned=True)
    harness.publish(N_BACK // 2, turned=False)
    assert harness.start(f"{place}:2", **FAST).wait(150) == EXIT_CODE
    harness.publish(N_BACK // 2, turned=False)
    harness.start(**FAST)

    until(lambda: harness.versions()[MODEL].version == "1")
    until(lambda: n_labelled(harness) == N_TURNED + N_BACK)

    assert [event.step for event in swaps(harness)] == ["requested", "promoted"]
