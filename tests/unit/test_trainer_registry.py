"""Stored versions are immutable and load unchanged, and no unreviewed type is loaded."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler

from producer.names import file_name
from stream_monitor.reference.frame import profile_from_frame
from stream_monitor.reference.profile import ReferenceProfile
from trainer.registry import artifact
from trainer.registry.errors import (
    CorruptArtifact,
    CorruptManifest,
    NoSuchVersion,
    NotStorable,
    UntrustedType,
)
from trainer.registry.manifest import Manifest
from trainer.registry.registry import Registry
from trainer.registry.training_frames import TrainingFrames

RNG = np.random.default_rng(5)
FRAME = pd.DataFrame(
    {"temp": RNG.normal(15, 8, 400), "carrier": RNG.choice(["UA", "AA", "DL"], 400)}
)
LATE = (FRAME["temp"] + RNG.normal(0, 4, 400) > 18).astype(int)
DELAY = FRAME["temp"] * 2


def boosted() -> Any:
    encode = make_column_transformer(
        (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), ["carrier"]),
        remainder="passthrough",
    )
    return make_pipeline(encode, HistGradientBoostingClassifier(max_iter=5, random_state=0))


def linear() -> Any:
    encode = make_column_transformer((OneHotEncoder(), ["carrier"]), (StandardScaler(), ["temp"]))
    return make_pipeline(encode, LogisticRegression())


def profile(model: str = "flights", version: str = "1") -> ReferenceProfile:
    return profile_from_frame(FRAME, model=model, version=version, task="binary")


def store(
    registry: Registry, estimator: Any, version: str = "1", model: str = "flights", time_ms: int = 7
) -> Manifest:
    return registry.store(
        estimator,
        model=model,
        version=version,
        profile=profile(model, version),
        training={"ranges": [[0, 10, 900]], "n_rows": 400},
        metrics={"loss": 0.2},
        factory="tests:boosted",
        caused_by="alert-1",
        time_ms=time_ms,
    )


def test_trees_and_regressions_can_be_stored(tmp_path: Path) -> None:
    forest = RandomForestRegressor(n_estimators=3).fit(FRAME[["temp"]], DELAY)
    ridge = make_pipeline(StandardScaler(), Ridge()).fit(FRAME[["temp"]], DELAY)
    for version, fitted in (("1", forest), ("2", ridge)):
        again = Registry(tmp_path).load(
            store(Registry(tmp_path), fitted, version=version).artifact_sha256
        )
        assert np.array_equal(again.predict(FRAME[["temp"]]), fitted.predict(FRAME[["temp"]]))


def test_one_object_has_one_hash() -> None:
    fitted = boosted().fit(FRAME, LATE)

    assert artifact.dump(fitted) == artifact.dump(fitted)
    assert artifact.dump(fitted) != artifact.dump(linear().fit(FRAME, LATE))


def test_storing_the_same_again_changes_nothing(tmp_path: Path) -> None:
    registry, fitted = Registry(tmp_path), linear().fit(FRAME, LATE)
    first = store(registry, fitted, time_ms=7)
    before = {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()}

    second = store(registry, artifact.dump(fitted), time_ms=8)

    assert second == first
    assert {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()} == before


def test_an_artifact_can_be_stored_from_its_file(tmp_path: Path) -> None:
    fitted = linear().fit(FRAME, LATE)
    file = tmp_path / "made.skops"
    file.write_bytes(artifact.dump(fitted))

    assert store(Registry(tmp_path / "a"), file).artifact_sha256 == (
        store(Registry(tmp_path / "b"), fitted).artifact_sha256
    )


@given(st.binary(max_size=200))
def test_bytes_that_are_no_artifact_are_rejected(data: bytes) -> None:
    with pytest.raises(CorruptArtifact):
        artifact.load(data)


def doubled(values: Any) -> Any:
    return values * 2


def test_types_outside_the_allow_list_are_rejected_by_name(tmp_path: Path) -> None:
    fitted = make_pipeline(FunctionTransformer(doubled), Ridge()).fit(FRAME[["temp"]], DELAY)

    with pytest.raises(UntrustedType, match=r"test_trainer_registry\.doubled") as raised:
        store(Registry(tmp_path), fitted)

    assert len(raised.value.names) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_broken_manifest_is_named(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    store(registry, linear().fit(FRAME, LATE))
    file = tmp_path / "models" / "flights" / "1.json"
    file.write_bytes(file.read_bytes()[:50])

    with pytest.raises(CorruptManifest, match=r"1\.json is not a manifest"):
        registry.manifest("flights", "1")


def test_versions_come_oldest_first_and_models_by_name(tmp_path: Path) -> None:
    registry, fitted = Registry(tmp_path), linear().fit(FRAME, LATE)
    for model, version, time_ms in (("b", "10", 1), ("b", "9", 2), ("a/../b", "1", 3)):
        store(registry, fitted, version=version, model=model, time_ms=time_ms)

    assert registry.models() == ["a/../b", "b"]
    assert [m.version for m in registry.versions("b")] == ["10", "9"]
    assert len(list((tmp_path / "artifacts").iterdir())) == 1


@given(st.lists(st.text(min_size=1, max_size=30), min_size=2, max_size=2, unique=True))
def test_names_are_files_without_clash(names: list[str]) -> None:
    first, second = map(file_name, names)

    assert first != second
    assert "/" not in first
    assert not first.startswith(".")


def test_a_partial_of_an_unreviewed_function_is_rejected() -> None:
    for function, name in ((os.system, r"posix\.system"), (doubled, "doubled")):
        smuggled = FunctionTransformer(partial(function))
        with pytest.raises((UntrustedType, NotStorable), match=name):
            artifact.dump(make_pipeline(smuggled, Ridge()))


def test_a_training_frame_comes_back_with_its_types(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "time_ms": [1, 2, 3],
            "x": [0.5, float("nan"), 2.0],
            "text": pd.Series(["a", None, "b"], dtype=object),
            "label": pd.Series([1, "late", None], dtype=object),
            "flag": [True, False, True],
        }
    )
    frames = TrainingFrames(tmp_path)

    sha256 = frames.store(frame)
    found = frames.load(sha256)

    pd.testing.assert_frame_equal(found, frame)
    assert frames.store(frame) == sha256
    (tmp_path / f"{sha256}.parquet").write_bytes(b"PAR1")
    with pytest.raises(CorruptArtifact, match="changed or truncated"):
        frames.load(sha256)
    with pytest.raises(NoSuchVersion, match="no training frame"):
        frames.load("0" * 64)


def test_old_training_frames_are_removed(tmp_path: Path) -> None:
    frames = TrainingFrames(tmp_path)
    old, new, latest = (frames.store(pd.DataFrame({"x": [number]})) for number in (1, 2, 3))
    for sha256 in (old, new):
        os.utime(tmp_path / f"{sha256}.parquet", (0, 0))

    frames.remove_except({new})

    assert frames.load(latest)["x"].tolist() == [3]

    assert frames.load(new)["x"].tolist() == [2]
    with pytest.raises(NoSuchVersion):
        frames.load(old)
