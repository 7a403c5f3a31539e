"""A challenger is not worse than the champion on the user's golden set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from driftline.cli.command_error import CommandError
from driftline.cli.train import reject_invalid_golden_sets
from stream_monitor.reference.frame import profile_from_frame
from tests.unit.trainer_alerts import a_job
from trainer.dataset.collector import CollectedEvents
from trainer.dataset.frame import ColumnRoles, build_dataset
from trainer.dataset.golden_set import InvalidGoldenSet, read_golden_set
from trainer.evaluation.gate import Gate, check_golden
from trainer.fitting.results import TriedWindows
from trainer.jobs.job import JobData
from trainer.service.context import JobWorkspace, StepInputs, TrainerContext, context_from_settings
from trainer.service.pipeline import refit_challenger
from trainer.settings import Settings

FACTORIES = Path(__file__).parent.parent / "integration"


def rows(n: int, slope: float, seed: int = 0) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    a = draw.normal(size=n)
    label = (draw.random(n) < 1 / (1 + np.exp(-slope * a))).astype(int)
    return pd.DataFrame({"a": a, "b": draw.choice(["x", "y"], n).astype(object), "label": label})


def test_only_a_challenger_that_is_worse_beyond_doubt_is_rejected() -> None:
    draw = np.random.default_rng(0)
    ours = draw.random(600)
    gate = Gate(promote="if_better", max_loss=0.01)

    worse = check_golden(ours, ours + 0.1 + draw.normal(0, 0.1, 600), gate, "golden.parquet")
    equal = check_golden(ours, ours + draw.normal(0, 0.1, 600), gate, "golden.parquet")

    assert (worse.promote, equal.promote) == (False, True)
    assert worse.reason.startswith("on the golden set golden.parquet: the whole interval is below")
    assert worse.numbers["golden_n_events"] == 600
    assert worse.numbers["golden_improvement_high"] < 0  # type: ignore[operator]


def test_a_file_is_read_with_the_features_and_the_label(tmp_path: Path) -> None:
    file = tmp_path / "golden.parquet"
    rows(300, 1.0).assign(other=1).to_parquet(file)

    found = read_golden_set(str(file), ["b", "a"], 300)

    assert list(found) == ["b", "a", "label"]
    assert [str(found[name].dtype) for name in ("a", "label")] == ["float64", "int64"]
    assert list(read_golden_set(str(file), None, 300)) == ["a", "b", "other", "label"]


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        (lambda frame: frame.drop(columns="label"), "has no column label"),
        (lambda frame: frame.drop(columns="b"), "has no column b"),
        (lambda frame: frame.head(20), "has 20 rows; 200 are needed"),
        (lambda frame: frame.assign(label=[None, *[1] * 299]), "has 1 rows without a label"),
        (lambda frame: frame.assign(a=pd.Timestamp("2024-01-01")), "column a has a value of type"),
    ],
)
def test_a_file_that_cannot_be_compared_on_is_explained(
    changed: Any, why: str, tmp_path: Path
) -> None:
    file = tmp_path / "golden.parquet"
    changed(rows(300, 1.0)).to_parquet(file)

    with pytest.raises(InvalidGoldenSet, match=why):
        read_golden_set(str(file), ["a", "b"], 200)


def test_a_missing_or_damaged_file_is_explained(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no parquet", "utf-8")

    with pytest.raises(InvalidGoldenSet, match="there is no file"):
        read_golden_set(str(tmp_path / "none"), None, 200)
    with pytest.raises(InvalidGoldenSet, match="is not a Parquet file"):
        read_golden_set(str(tmp_path / "text"), None, 200)


def trainer_with_golden_set(tmp_path: Path, slope: float) -> TrainerContext:
    """A champion fitted on a slope of 1.5, and golden cases of the given slope."""
    rows(400, slope, seed=9).to_parquet(tmp_path / "golden.parquet")
    settings: dict[str, Any] = {
        "data_dir": tmp_path,
        "factories": {"m": "small_factories:logistic"},
        "gate": {"golden": {"m": str(tmp_path / "golden.parquet")}},
    }
    context = context_from_settings(Settings(trainer=settings))  # type: ignore[arg-type]
    frame = rows(1_000, 1.5, seed=1)
    context.registry.store(
        LogisticRegression().fit(frame[["a"]], frame["label"]),
        model="m",
        version="1",
        profile=profile_from_frame(frame[["a"]], model="m", version="1", task="binary"),
        training={},
        metrics={},
        factory="",
        caused_by="test",
        time_ms=0,
    )
    return context


@pytest.mark.slow
@pytest.mark.parametrize(("slope", "rule"), [(1.5, "golden_worse"), (-1.5, "better")])
def test_the_refitted_challenger_is_compared_on_the_golden_set(
    slope: float, rule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The world has turned to a slope of -1.5; the golden set may insist on the old one."""
    monkeypatch.chdir(FACTORIES)
    context = trainer_with_golden_set(tmp_path, slope)
    new = rows(1_500, -1.5, seed=2)
    workspace = JobWorkspace(tmp_path / "work")
    empty = build_dataset(CollectedEvents([], 0, 0, 0, 1.0), ColumnRoles("binary"))
    frame = new[["a", "label"]].assign(time_ms=np.arange(len(new)))
    workspace.dataset = empty._replace(frame=frame, features=["a"])
    recipe = [0.5] * context.policy.holdout_rows
    workspace.tried = TriedWindows({"all": list(recipe)}, "binary", 1, 0.0)
    job = a_job(
        episode_id=None,
        challenger="2",
        state="refitting",
        asked_ms=0,
        work=JobData(
            promote=True, rule="better", numbers={"window": "all", "window_rows": len(new)}
        ),
    )

    after = refit_challenger(job, context, workspace, StepInputs([], [])).after

    assert (after.work.promote, after.work.rule) == (rule == "better", rule)
    assert after.work.numbers["golden_n_events"] == 400


def test_the_trainer_does_not_start_without_the_file_of_a_golden_set(tmp_path: Path) -> None:
    context = trainer_with_golden_set(tmp_path, 1.5)
    reject_invalid_golden_sets(context)

    (tmp_path / "golden.parquet").unlink()

    with pytest.raises(CommandError, match="a golden set cannot be used"):
        reject_invalid_golden_sets(context)
