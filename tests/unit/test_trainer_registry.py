"""What is stored comes back the same, under one name for ever, and nothing unreviewed is loaded."""

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
    VersionTaken,
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


@pytest.mark.parametrize("make", [boosted, linear])
def test_a_stored_model_predicts_as_it_did(tmp_path: Path, make: Any) -> None:
    fitted = make().fit(FRAME, LATE)
    registry = Registry(tmp_path)

    stored = store(registry, fitted)

    again = Registry(tmp_path).load(stored.artifact_sha256)
    assert np.array_equal(again.predict_proba(FRAME), fitted.predict_proba(FRAME))


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


def test_the_manifest_and_its_profile_come_back(tmp_path: Path) -> None:
    stored = store(Registry(tmp_path), linear().fit(FRAME, LATE))

    found = Registry(tmp_path).manifest("flights", "1")

    assert found == stored
    assert found.reference() == profile()
    assert found.training == {"ranges": [[0, 10, 900]], "n_rows": 400}
    assert set(found.libraries) == {"python", "scikit-learn", "numpy", "pandas", "skops"}


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


def test_a_version_is_one_artifact_for_ever(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    first = store(registry, linear().fit(FRAME, LATE))

    with pytest.raises(VersionTaken, match="flights@1 is already stored"):
        store(registry, boosted().fit(FRAME, LATE))

    assert registry.manifest("flights", "1") == first


def test_storing_again_heals_an_artifact_that_was_damaged(tmp_path: Path) -> None:
    registry, fitted = Registry(tmp_path), linear().fit(FRAME, LATE)
    sha256 = store(registry, fitted).artifact_sha256
    (tmp_path / "artifacts" / f"{sha256}.skops").write_bytes(b"half")

    store(registry, fitted)

    assert registry.load(sha256) is not None


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 not a model"])
def test_changed_bytes_are_never_loaded(tmp_path: Path, damage: bytes) -> None:
    registry = Registry(tmp_path)
    sha256 = store(registry, linear().fit(FRAME, LATE)).artifact_sha256
    (tmp_path / "artifacts" / f"{sha256}.skops").write_bytes(damage)

    with pytest.raises(CorruptArtifact, match="changed or truncated"):
        registry.load(sha256)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_artifact_are_refused(data: bytes) -> None:
    with pytest.raises(CorruptArtifact):
        artifact.load(data)


def doubled(values: Any) -> Any:
    return values * 2


def test_types_outside_the_allow_list_are_refused_by_name(tmp_path: Path) -> None:
    fitted = make_pipeline(FunctionTransformer(doubled), Ridge()).fit(FRAME[["temp"]], DELAY)

    with pytest.raises(UntrustedType, match=r"test_trainer_registry\.doubled") as refused:
        store(Registry(tmp_path), fitted)

    assert len(refused.value.names) == 1
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "none")

    assert registry.models() == []
    assert registry.versions("flights") == []
    with pytest.raises(NoSuchVersion, match="no version '9' of model 'flights'"):
        registry.manifest("flights", "9")
    for unknown in ("ab" * 32, "../../etc/passwd", ""):
        with pytest.raises(NoSuchVersion):
            registry.load(unknown)


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


def test_the_profile_must_be_that_of_the_version(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"flights@1.*flights@2"):
        Registry(tmp_path).store(
            linear().fit(FRAME, LATE),
            model="flights",
            version="2",
            profile=profile(version="1"),
            training={},
            metrics={},
            factory="f:f",
            caused_by="a",
            time_ms=0,
        )


@given(st.lists(st.text(min_size=1, max_size=30), min_size=2, max_size=2, unique=True))
def test_names_are_files_without_clash(names: list[str]) -> None:
    first, second = map(file_name, names)

    assert first != second
    assert "/" not in first
    assert not first.startswith(".")


def test_a_partial_of_an_unreviewed_function_is_refused() -> None:
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
