"""One contract for every registry: in a folder, and in a real MLflow."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from stream_monitor.reference.frame import profile_from_frame
from stream_monitor.reference.profile import ReferenceProfile
from trainer.registry import artifact
from trainer.registry.errors import CorruptArtifact, NoSuchVersion, UntrustedType, VersionTaken
from trainer.registry.manifest import Manifest
from trainer.registry.mlflow_registry import MlflowRegistry
from trainer.registry.registry import Registry
from trainer.registry.version_registry import VersionRegistry

RNG = np.random.default_rng(5)
FRAME = pd.DataFrame(
    {"temp": RNG.normal(15, 8, 400), "carrier": RNG.choice(["UA", "AA", "DL"], 400)}
)
LATE = (FRAME["temp"] + RNG.normal(0, 4, 400) > 18).astype(int)


class OpenRegistry(NamedTuple):
    """A registry; ``reopen`` returns it as another process sees it, ``files`` are its artifacts."""

    registry: VersionRegistry
    reopen: Callable[[], VersionRegistry]
    files: Callable[[], list[Path]]

    def damage(self, sha256: str, data: bytes) -> None:
        """Replace the stored bytes of an artifact."""
        of_hash = [f for f in self.files() if artifact.sha256_of(f.read_bytes()) == sha256]
        assert of_hash
        for file in of_hash:
            file.write_bytes(data)


@pytest.fixture(params=["folder", pytest.param("mlflow", marks=pytest.mark.slow)])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> OpenRegistry:
    if request.param == "folder":
        return OpenRegistry(
            Registry(tmp_path),
            lambda: Registry(tmp_path),
            lambda: list((tmp_path / "artifacts").glob("*.skops")),
        )
    server = request.getfixturevalue("mlflow")
    return OpenRegistry(
        MlflowRegistry(server.uri),
        lambda: MlflowRegistry(server.uri),
        lambda: list(server.artifacts.rglob("*.skops")),
    )


@pytest.fixture
def model() -> str:
    """A model that no other test has."""
    return f"flights-{uuid.uuid4().hex[:8]}"


def boosted() -> Any:
    encode = make_column_transformer(
        (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), ["carrier"]),
        remainder="passthrough",
    )
    return make_pipeline(encode, HistGradientBoostingClassifier(max_iter=5, random_state=0))


def linear(c: float = 1.0) -> Any:
    encode = make_column_transformer((OneHotEncoder(), ["carrier"]), (StandardScaler(), ["temp"]))
    return make_pipeline(encode, LogisticRegression(C=c)).fit(FRAME, LATE)


def own_linear() -> Any:
    """A fitted estimator whose artifact no other test has."""
    return linear(float(RNG.uniform(0.1, 10)))


def profile(model: str, version: str = "1") -> ReferenceProfile:
    return profile_from_frame(FRAME, model=model, version=version, task="binary")


def store(
    registry: VersionRegistry, estimator: Any, model: str, version: str = "1", time_ms: int = 7
) -> Manifest:
    return registry.store(
        estimator,
        model=model,
        version=version,
        profile=profile(model, version),
        training={"ranges": [[0, 10, 900]], "n_rows": 400},
        metrics={"loss": 0.2, "loss_of_all rows": float("inf"), "decided": {"rule": "better"}},
        factory="tests:boosted",
        caused_by="alert-1",
        time_ms=time_ms,
    )


@pytest.mark.parametrize("make", [lambda: boosted().fit(FRAME, LATE), own_linear])
def test_a_stored_model_predicts_as_it_did(opened: OpenRegistry, model: str, make: Any) -> None:
    fitted = make()

    stored = store(opened.registry, fitted, model)

    again = opened.reopen().load(stored.artifact_sha256)
    assert np.array_equal(again.predict_proba(FRAME), fitted.predict_proba(FRAME))


def test_the_manifest_and_its_profile_round_trip(opened: OpenRegistry, model: str) -> None:
    stored = store(opened.registry, own_linear(), model)

    found = opened.reopen().manifest(model, "1")

    assert msgspec.to_builtins(found) == msgspec.to_builtins(stored)
    assert found.reference() == profile(model)
    assert found.training == {"ranges": [[0, 10, 900]], "n_rows": 400}
    assert set(found.libraries) == {"python", "scikit-learn", "numpy", "pandas", "skops"}


def test_a_repeat_returns_the_stored_manifest(opened: OpenRegistry, model: str) -> None:
    fitted = own_linear()
    first = store(opened.registry, fitted, model, time_ms=7)
    before = sorted(opened.files())

    second = store(opened.reopen(), artifact.dump(fitted), model, time_ms=8)

    assert second == first
    assert opened.registry.versions(model) == [first]
    assert sorted(opened.files()) == before


def test_a_version_is_immutable(opened: OpenRegistry, model: str) -> None:
    first = store(opened.registry, own_linear(), model)

    with pytest.raises(VersionTaken, match=f"{model}@1 is already stored in"):
        store(opened.registry, own_linear(), model)

    assert opened.registry.manifest(model, "1") == first


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 not a model"])
def test_changed_bytes_are_never_loaded(opened: OpenRegistry, model: str, damage: bytes) -> None:
    sha256 = store(opened.registry, own_linear(), model).artifact_sha256
    opened.damage(sha256, damage)

    with pytest.raises(CorruptArtifact, match="changed or truncated"):
        opened.registry.load(sha256)


def test_storing_again_replaces_a_damaged_artifact(opened: OpenRegistry, model: str) -> None:
    fitted = own_linear()
    sha256 = store(opened.registry, fitted, model).artifact_sha256
    opened.damage(sha256, b"half")

    store(opened.registry, fitted, model)

    assert opened.registry.load(sha256) is not None


def test_one_artifact_may_be_several_versions(opened: OpenRegistry, model: str) -> None:
    fitted = own_linear()
    stored = [store(opened.registry, fitted, model, version) for version in ("1", "2")]

    assert [m.version for m in opened.reopen().versions(model)] == ["1", "2"]
    assert opened.registry.artifact(stored[0].artifact_sha256) == artifact.dump(fitted)


def test_an_unknown_version_is_an_error_that_names_it(opened: OpenRegistry, model: str) -> None:
    registry = opened.registry

    assert registry.versions(model) == []
    assert model not in registry.models()
    assert registry.find(model, "9") is None
    with pytest.raises(NoSuchVersion, match=f"no version '9' of model '{model}'"):
        registry.manifest(model, "9")
    with pytest.raises(NoSuchVersion, match="no version of model"):
        registry.newest(model)
    for unknown in ("ab" * 32, "../../etc/passwd", ""):
        with pytest.raises(NoSuchVersion):
            registry.load(unknown)


def test_versions_are_listed_oldest_first_and_models_by_name(
    opened: OpenRegistry, model: str
) -> None:
    names = [f"{model}/../b", f"{model}: 50 % 'é'", model + "x" * 240]
    fitted = own_linear()
    for name, version, time_ms in (
        (names[0], "10", 1),
        (names[0], "9/a'b", 2),
        (names[1], "1", 3),
        (names[2], "1", 4),
    ):
        store(opened.registry, fitted, name, version, time_ms)

    found = opened.reopen()
    assert [name for name in found.models() if name.startswith(model)] == sorted(names)
    assert [m.version for m in found.versions(names[0])] == ["10", "9/a'b"]
    assert found.newest(names[0]).version == "9/a'b"


def test_the_profile_must_be_that_of_the_version(opened: OpenRegistry, model: str) -> None:
    with pytest.raises(ValueError, match=rf"{model}@1.*{model}@2"):
        opened.registry.store(
            own_linear(),
            model=model,
            version="2",
            profile=profile(model, "1"),
            training={},
            metrics={},
            factory="f:f",
            caused_by="a",
            time_ms=0,
        )
    assert opened.registry.versions(model) == []


def test_bytes_that_are_no_artifact_are_not_stored(opened: OpenRegistry, model: str) -> None:
    with pytest.raises((CorruptArtifact, UntrustedType)):
        store(opened.registry, b"not an artifact", model)

    assert opened.registry.versions(model) == []
