"""A retrain in mode ``pool`` puts a vote into service, with the reference of its own losses."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from producer.events import ModelUpdate
from stream_monitor.reference.profile import profile_from_data
from tests.unit.pool_registry import store_version
from trainer.contracts import ModelVersion, PoolMember
from trainer.dataset.collector import CollectedEvents
from trainer.dataset.frame import ColumnRoles, Dataset, build_dataset
from trainer.evaluation.losses import losses
from trainer.evaluation.vote import vote, vote_weights
from trainer.fitting.model_fit import FitSpec, fit_model
from trainer.fitting.results import FittedModel
from trainer.jobs.job import Job, JobData
from trainer.registry import artifact
from trainer.registry.manifest import StoredPool
from trainer.service import pipeline
from trainer.service.challenger_storage import store_challenger
from trainer.service.context import (
    JobWorkspace,
    StepInputs,
    TrainerContext,
    context_from_settings,
    fitted_of,
)
from trainer.service.pool_forming import pool_sentence
from trainer.service.step_result import StepResult
from trainer.settings import Settings

MODEL, N = "m", 1_000
FEATURES: Final = ["a", "b"]
SEEN_UNTIL: Final = 400
"""Version 1 was fitted on the rows up to this one."""


def rows() -> pd.DataFrame:
    draw = np.random.default_rng(1)
    a, b = draw.normal(size=(2, N))
    label = (a + 0.5 * b + 0.5 * draw.normal(size=N) > 0).astype(int)
    return pd.DataFrame({"time_ms": np.arange(1, N + 1), "label": label, "a": a, "b": b})


def context_in(folder: Path, mode: str = "pool") -> TrainerContext:
    trainer = {"data_dir": folder, "mode": mode, "factories": {MODEL: "f:f"}}
    return context_from_settings(Settings.model_validate({"trainer": trainer}))


def workspace_in(folder: Path) -> JobWorkspace:
    """The workspace of a job that has fitted version 2 on all rows."""
    frame = rows()
    spec = FitSpec(FEATURES, MODEL, "2", task="binary")
    fitted = fit_model(LogisticRegression(), frame, spec, lambda _stage: None)
    file = folder / "model.skops"
    file.write_bytes(artifact.dump(fitted.estimator))
    workspace = JobWorkspace(folder / "work")
    workspace.fitted = FittedModel(file, fitted.profile, fitted.out_of_fold, [], {}, 1.0)
    empty = build_dataset(CollectedEvents([], 0, 0, 0, 1.0), ColumnRoles("binary"))
    workspace.dataset = Dataset(frame, FEATURES, empty.record)
    return workspace


def job(state: Any = "storing") -> Job:
    numbers = {"window_rows": N, "window": "all"}
    work = JobData(promote=True, rule="better", reason="It is better.", numbers=numbers, now_ms=N)
    return Job(
        job_id="j",
        caused_by="alert-1",
        model=MODEL,
        episode_id=None,
        champion="1",
        challenger="2",
        state=state,
        asked_ms=1,
        work=work,
    )


def formed(folder: Path, mode: str = "pool") -> StoredPool | None:
    """The pool of the version that the job stores."""
    context = context_in(folder, mode)
    workspace = workspace_in(folder)
    after = store_challenger(job(), context, workspace, StepInputs([], [])).after
    assert after.state == "promoting"
    return context.registry.manifest(MODEL, "2").pool


def test_the_reference_of_a_pool_is_that_of_its_out_of_fold_vote(tmp_path: Path) -> None:
    """On the rows that version 1 was fitted on, the challenger votes alone."""
    store_version(tmp_path, MODEL, "1", trained_until_ms=SEEN_UNTIL)

    pool = formed(tmp_path)

    assert pool is not None
    registry, labels = context_in(tmp_path).registry, rows()["label"].tolist()
    first = registry.load(registry.manifest(MODEL, "1").artifact_sha256)
    of_first = first.predict_proba(rows()[FEATURES])[:, 1].tolist()
    predicted: dict[str, list[Any]] = {
        "1": [None] * SEEN_UNTIL + of_first[SEEN_UNTIL:],
        "2": fitted_of(workspace_in(tmp_path)).out_of_fold,
    }
    weights = {member.version: member.weight for member in pool.members}
    brier = {v: losses(one, labels, "binary", metric="brier") for v, one in predicted.items()}
    assert weights == pytest.approx(vote_weights(brier))
    assert weights.keys() == {"1", "2"}
    profile = profile_from_data(pool.profile)
    assert profile.loss is not None
    expected = losses(vote(predicted, weights), labels, "binary")
    assert profile.loss.mean == pytest.approx(float(expected.mean()))
    assert profile.prediction != registry.manifest(MODEL, "2").reference().prediction
    assert (profile.version, list(profile.features)) == ("2", FEATURES)


def test_versions_that_cannot_vote_are_left_out_and_named(tmp_path: Path) -> None:
    store_version(tmp_path, MODEL, "1", features=("a", "c"))
    damaged = store_version(tmp_path, MODEL, "3", c=3.0)
    artifacts = tmp_path / "registry" / "artifacts"
    (artifacts / f"{damaged.artifact_sha256}.skops").write_bytes(b"?")

    pool = formed(tmp_path)

    assert pool is not None
    assert [(member.version, member.weight) for member in pool.members] == [("2", 1.0)]
    assert pool.left_out["1"] == "it has other features"
    assert "was changed or truncated" in pool.left_out["3"]
    sentence = pool_sentence(pool.members, pool.left_out)
    assert sentence.startswith("Version 2 has all of the weight. Version 1 has no vote: it has oth")


def test_a_pool_of_the_challenger_alone_has_its_reference(tmp_path: Path) -> None:
    pool = formed(tmp_path)

    assert pool is not None
    assert pool.profile == context_in(tmp_path).registry.manifest(MODEL, "2").profile


def test_other_modes_store_no_pool(tmp_path: Path) -> None:
    store_version(tmp_path, MODEL, "1", trained_until_ms=SEEN_UNTIL)

    assert formed(tmp_path, mode="auto") is None


def test_a_promotion_announces_the_reference_of_the_pool_and_its_members(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_version(tmp_path, MODEL, "1", trained_until_ms=SEEN_UNTIL)
    pool = formed(tmp_path)
    assert pool is not None
    updates: list[ModelUpdate] = []
    monkeypatch.setattr(pipeline, "announce", lambda *_, update, **__: updates.append(update))

    result = promote(tmp_path, job("promoting"))
    by_person = promote(tmp_path, msgspec.structs.replace(job("promoting"), caused_by="person:1"))

    manifest = context_in(tmp_path).registry.manifest(MODEL, "2")
    of_pool, alone = updates
    assert profile_from_data(of_pool.profile) == profile_from_data(pool.profile)
    assert profile_from_data(alone.profile) == manifest.reference()
    version, pointer = records_of(result)
    assert (version.profile, version.members) == (pool.profile, ())
    assert (pointer.profile, pointer.members) == (None, pool.members)
    assert records_of(by_person)[1].members == ()
    (event,) = result.step_events
    assert "is served; a prediction costs 2 predictions." in event.reason


def promote(folder: Path, of: Job) -> StepResult:
    workspace = JobWorkspace(folder / "work")
    return pipeline.promote_challenger(of, context_in(folder), workspace, StepInputs([], []))


def records_of(result: StepResult) -> list[ModelVersion]:
    return [msgspec.json.decode(one.value, type=ModelVersion) for one in result.outbound_records]


class EarlierModelVersion(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`ModelVersion` as consumers have it that were built before there were pools."""

    model: str
    version: str
    artifact_sha256: str
    time_ms: int
    caused_by: str
    profile: dict[str, Any] | None = None
    promoted: bool = True


def test_a_consumer_without_pools_reads_the_version_and_its_own_artifact() -> None:
    members = (PoolMember(version="1", artifact_sha256="ab", weight=1.0),)
    known = {
        "model": MODEL,
        "version": "2",
        "artifact_sha256": "cd",
        "time_ms": 1,
        "caused_by": "x",
    }

    pool = msgspec.json.encode(ModelVersion(**known, members=members))  # type: ignore[arg-type]
    alone = msgspec.json.encode(ModelVersion(**known))  # type: ignore[arg-type]

    earlier = msgspec.json.decode(pool, type=EarlierModelVersion)
    assert earlier == EarlierModelVersion(**known)  # type: ignore[arg-type]
    assert alone == msgspec.json.encode(earlier)
