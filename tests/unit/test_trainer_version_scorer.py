"""Stored versions are scored on the labelled events that none of their training rows are."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

from producer.events import InferenceEvent, Label, Value
from stream_monitor.reference.frame import profile_from_frame
from trainer.dataset.label_join import JoinedEvent
from trainer.registry.registry import Registry
from trainer.service.labelled_events import LabelledEvents
from trainer.service.version_scorer import VersionScorer

MODEL = "m"


def training(features: list[str], *, turned: bool = False) -> pd.DataFrame:
    draw = np.random.default_rng(len(features))
    frame = pd.DataFrame({name: draw.normal(size=600) for name in features})
    return frame.assign(late=((frame["a"] > 0) != turned).astype(int))


def store(
    registry: Registry,
    version: str,
    time_ms: int,
    *,
    features: tuple[str, ...] = ("a", "b"),
    turned: bool = False,
    trained: dict[str, int] | None = None,
) -> None:
    frame = training(list(features), turned=turned)
    estimator = LogisticRegression().fit(frame[list(features)], frame["late"])
    frame["score"] = estimator.predict_proba(frame[list(features)])[:, 1]
    profile = profile_from_frame(
        frame,
        model=MODEL,
        version=version,
        prediction="score",
        label="late",
        features=list(features),
        task="binary",
    )
    registry.store(
        estimator,
        model=MODEL,
        version=version,
        profile=profile,
        training={} if trained is None else {"trained": trained},
        metrics={},
        factory="f:f",
        caused_by="test",
        time_ms=time_ms,
    )


def joined(time_ms: int, label: Value = 1, **features: Value) -> JoinedEvent:
    event = InferenceEvent(
        id=str(time_ms), model=MODEL, version="1", time_ms=time_ms, features=features
    )
    return JoinedEvent(1, 0, event, label)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path)


def scorer_of(registry: Registry, champion: str = "1", *, max_versions: int = 12) -> VersionScorer:
    scorer = VersionScorer(registry, MODEL, max_versions=max_versions, metric="auto")
    scorer.refresh(champion)
    return scorer


def test_each_version_predicts_from_its_own_features_with_missing_and_wrong_values(
    registry: Registry,
) -> None:
    store(registry, "1", 10)
    store(registry, "2", 20, features=("b", "a", "c"), turned=True)

    found = scorer_of(registry).score(
        [joined(100, 1, a=2.0, b=0.0, c=1.0), joined(101, 0, c=0.5, a=2.0, b=0.0, unknown="x")]
    )

    assert np.round(found["1"]).tolist() == [0.0, 1.0]  # the Brier score
    assert np.round(found["2"]).tolist() == [1.0, 0.0]


def test_events_before_the_last_training_row_do_not_count_for_a_version(registry: Registry) -> None:
    store(registry, "1", 10)  # without rows: until its time
    store(registry, "2", 20, trained={"rows": 600, "first_ms": 5, "last_ms": 50})
    scorer = scorer_of(registry)

    found = scorer.score([joined(t, a=1.0, b=0.0) for t in (10, 11, 50, 51)])

    assert np.isnan(found["1"]).tolist() == [True, False, False, False]
    assert np.isnan(found["2"]).tolist() == [True, True, True, False]
    assert scorer.newest is not None
    assert (scorer.newest.trained_rows, scorer.newest.trained_until_ms) == (600, 50)


def test_nothing_is_scored_for_the_champion_alone(registry: Registry) -> None:
    store(registry, "1", 10)

    assert scorer_of(registry).score([joined(100, a=1.0, b=0.0)]) == {}


def test_the_newest_versions_and_the_champion_are_scored(registry: Registry) -> None:
    for number in range(1, 5):
        store(registry, str(number), 10 * number)

    found = scorer_of(registry, max_versions=2).score([joined(100, a=1.0, b=0.0)])

    assert sorted(found) == ["1", "3", "4"]


def test_a_version_that_cannot_be_loaded_or_raises_is_left_out_and_named(
    registry: Registry,
) -> None:
    for number in range(1, 4):
        store(registry, str(number), 10 * number, turned=number == 3)
    sha256 = registry.manifest(MODEL, "3").artifact_sha256
    (registry.folder / "artifacts" / f"{sha256}.skops").unlink()
    scorer = scorer_of(registry)

    found = scorer.score([joined(100, a=1.0, b=0.0)])

    assert sorted(found) == ["1", "2"]
    assert list(scorer.left_out) == ["3"]
    assert scorer.left_out["3"].startswith("NoSuchVersion: no artifact")
    assert scorer.n_versions == 2
    assert scorer.score([joined(101, b=0.0)]) == {}  # none predicts without a number
    assert sorted(scorer.left_out) == ["1", "2", "3"]


def test_without_the_champion_nothing_is_compared(registry: Registry) -> None:
    store(registry, "1", 10)
    store(registry, "2", 20)

    assert scorer_of(registry, "9").score([joined(100, a=1.0, b=0.0)]) == {}


def test_the_scale_of_a_regression_is_four_mean_losses(registry: Registry) -> None:
    draw = np.random.default_rng(1)
    frame = pd.DataFrame({"a": draw.normal(size=600)})
    frame["y"] = 2 * frame["a"] + draw.normal(size=600)
    estimator = LinearRegression().fit(frame[["a"]], frame["y"])
    frame["predicted"] = estimator.predict(frame[["a"]])
    profile = profile_from_frame(
        frame,
        model=MODEL,
        version="1",
        prediction="predicted",
        label="y",
        features=["a"],
        task="regression",
    )
    registry.store(
        estimator,
        model=MODEL,
        version="1",
        profile=profile,
        training={},
        metrics={},
        factory="f:f",
        caused_by="test",
        time_ms=1,
    )

    assert scorer_of(registry).scale == pytest.approx(4 * math.sqrt(2 / math.pi), rel=0.15)


def test_whole_blocks_are_scored_and_the_rest_waits(registry: Registry) -> None:
    store(registry, "1", 10)
    store(registry, "2", 20, turned=True)
    events = LabelledEvents(
        MODEL,
        scorer_of(registry),
        positions={},
        starts={0: 0},
        block_events=4,
        max_events_per_s=1_000,
    )
    for number in range(10):
        event = joined(100 + number, a=1.0, b=0.0).event
        events.add(0, 2 * number, 1, event)
        events.add(0, 2 * number + 1, 1, Label(id=event.id, model=MODEL, label=1, time_ms=1))

    scored = events.scored()

    assert scored is not None
    assert (scored.n_labelled, len(scored.losses["1"]), events.n_waiting) == (8, 8, 2)
    (position,) = scored.after
    assert (position.next_offset, position.reread_offset) == (17, 0)
    assert (scored.newest_version, scored.n_fresh) == ("2", 8)
    assert events.scored() is None


def test_each_row_of_a_batch_is_an_event(registry: Registry) -> None:
    store(registry, "1", 10)
    events = LabelledEvents(
        MODEL,
        scorer_of(registry),
        positions={},
        starts={0: 0},
        block_events=4,
        max_events_per_s=1_000,
    )
    rows = [joined(100 + number, a=1.0, b=0.0).event for number in range(4)]
    for row, event in enumerate(rows):
        events.add(0, 0, 1, event, row=row)
    for number, event in enumerate(rows):
        events.add(0, 1 + number, 1, Label(id=event.id, model=MODEL, label=1, time_ms=1))

    scored = events.scored()

    assert scored is not None
    assert scored.n_labelled == 4
    (position,) = scored.after
    assert (position.next_offset, position.reread_offset) == (5, 0)
