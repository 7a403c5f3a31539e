"""A fit ends in a model or in a reason; either way the trainer, its time and memory are safe."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pytest

from trainer.fitting.child import StageReporter, report_or_failure
from trainer.fitting.files import ChildFailed, FitFiles, FitRequest, write_table
from trainer.fitting.model_fit import FitSpec
from trainer.fitting.results import FitFailure, FitLimits, FittedModel
from trainer.fitting.run import fit
from trainer.registry.registry import Registry

HERE: Final = Path(__file__).parent
FEATURES: Final = ["temp", "carrier"]
LIMITS: Final = FitLimits(timeout_s=120, n_folds=3)


def frame(n: int = 900, seed: int = 4) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    temp = rng.normal(15, 8, n)
    return pd.DataFrame(
        {
            "time_ms": np.arange(n) * 1_000,
            "temp": temp,
            "carrier": pd.Series(rng.choice(["UA", "AA"], n), dtype=object),
            "label": (temp + rng.normal(0, 4, n) > 18).astype(int),
        }
    )


@pytest.fixture(autouse=True)
def _next_to_the_factories(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE)


def run(
    name: str,
    folder: Path,
    training: pd.DataFrame | None = None,
    limits: FitLimits = LIMITS,
    stages: list[str] | None = None,
    **others: Any,
) -> FittedModel | FitFailure:
    return fit(
        f"estimator_factories:{name}" if ":" not in name else name,
        frame() if training is None else training,
        FEATURES,
        limits,
        folder / "fit",
        (stages if stages is not None else []).append,
        model="flights",
        version="2",
        **others,
    )


def made(outcome: FittedModel | FitFailure) -> FittedModel:
    assert isinstance(outcome, FittedModel), outcome
    return outcome


def failed(outcome: FittedModel | FitFailure) -> FitFailure:
    assert isinstance(outcome, FitFailure), outcome
    return outcome


def test_a_good_factory_gives_a_model_its_profile_and_predictions(tmp_path: Path) -> None:
    training, later, stages = frame(), frame(100, seed=9), list[str]()

    declared = ["carrier=AA", "origin"]
    fitted = made(
        run(
            "good",
            tmp_path,
            training,
            stages=stages,
            held_out=later,
            segmented_by=declared,
            events_per_week=7e6,
        )
    )

    assert len(fitted.out_of_fold) == len(training)
    assert fitted.profile.task == "binary"
    assert fitted.profile.events_per_week == 7e6  # of the traffic; the rows are some of it
    assert fitted.profile.importances["temp"] == 1.0
    assert 0 <= fitted.profile.importances["carrier"] < 0.1
    assert set(fitted.profile.features) == set(FEATURES)
    assert [segment.name for segment in fitted.profile.segments] == ["carrier=AA"]
    assert fitted.profile.segmented_by == ("carrier=AA",)
    assert fitted.profile.loss is not None
    assert fitted.metrics["out_of_fold_loss"] == pytest.approx(fitted.profile.loss.mean)
    assert 0.05 < fitted.metrics["out_of_fold_loss"] < 0.4
    assert stages == [
        "making the model with estimator_factories:good",
        *(f"fold {i} of 3" for i in (1, 2, 3)),
        "fitting on 900 events",
        "computing importances",
        "learning the reference profile",
        "storing",
    ]
    stored = Registry(tmp_path).store(
        fitted.artifact,
        model="flights",
        version="2",
        profile=fitted.profile,
        training={},
        metrics=fitted.metrics,
        factory="estimator_factories:good",
        caused_by="alert",
        time_ms=1,
    )
    again = Registry(tmp_path).load(stored.artifact_sha256)
    assert again.predict_proba(later[FEATURES])[:, 1].tolist() == fitted.held_out


@pytest.mark.slow
def test_the_same_fit_again_gives_the_same_artifact(tmp_path: Path) -> None:
    one, other = (made(run("good", tmp_path / name)) for name in ("a", "b"))

    assert one.artifact.read_bytes() == other.artifact.read_bytes()
    assert one.profile == other.profile


@pytest.mark.slow
def test_a_regression_and_classes_without_probabilities(tmp_path: Path) -> None:
    training = frame()
    training["carrier"] = pd.Series(np.where(training["carrier"] == "UA", 0, 1))

    number = made(run("regression", tmp_path, training.assign(label=training["temp"] * 2)))
    name = made(run("without_probabilities", tmp_path, training))

    assert number.profile.task == "regression"
    assert {type(value) for value in number.out_of_fold} == {float}
    assert set(name.out_of_fold) == {"0", "1"}


@pytest.mark.slow
def test_classes_may_have_names(tmp_path: Path) -> None:
    training = frame()
    words = training["label"].map({1: "late", 0: "on time"})

    fitted = made(run("good", tmp_path, training.assign(label=words), positive="late"))
    three = words.where(training["temp"] > 8, "early").astype(object)
    several = made(run("good", tmp_path, training.assign(label=three)))

    assert fitted.profile.positive == "late"
    assert fitted.out_of_fold == pytest.approx(made(run("good", tmp_path)).out_of_fold)
    assert several.profile.task == "multiclass"
    assert set(several.out_of_fold) == {"early", "late", "on time"}


@pytest.mark.parametrize(
    ("factory", "rule", "reason"),
    [
        (
            "raises",
            "raised",
            (
                "while making the model with estimator_factories:raises: RuntimeError: "
                "no connection to the feature store (estimator_factories.py, line "
            ),
        ),
        (
            "ends_at_once",
            "raised",
            "ended with exit code 0 and without a report; the end of its output: 'farewell'",
        ),
        ("segfaults", "raised", "ended by SIGSEGV"),
        ("asks_for_too_much", "memory", "asked for more than 2048 MiB"),
        ("in_a_narrow_log", "profile_too_large", "at most 1,000 are allowed: train on fewer"),
    ],
)
def test_a_failed_fit_has_a_rule_and_a_reason(
    tmp_path: Path, factory: str, rule: str, reason: str
) -> None:
    outcome = failed(run(factory, tmp_path))

    assert (outcome.rule, reason in outcome.reason) == (rule, True), outcome


@pytest.mark.parametrize(
    ("factory", "rule", "reason"),
    [
        ("no_such_module:make", "raised", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("an_int", "not_an_estimator", "returned an object of type int, not an estimator"),
        ("returns_nan", "bad_output", "a value that is not between 0 and 1"),
        ("raises_in_predict", "raised", "while fold 1 of 3: ArithmeticError: cannot predict"),
        ("own_function_inside", "untrusted_type", "estimator_factories.drop_carrier"),
    ],
)
def test_a_mistake_of_a_factory_is_a_rule_and_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factory: str, rule: str, reason: str
) -> None:
    """What the process reports, without the process: the mistakes that it survives."""
    monkeypatch.syspath_prepend(HERE)
    files = FitFiles(tmp_path)
    write_table(frame()[[*FEATURES, "label"]], files.training)
    request = FitRequest(
        factory=factory if ":" in factory else f"estimator_factories:{factory}",
        spec=FitSpec(FEATURES, "flights", "2", n_folds=LIMITS.n_folds),
        max_memory_bytes=LIMITS.max_memory_bytes,
        held_out=False,
    )
    with Path(os.devnull).open("wb") as progress:
        report = report_or_failure(request, files, StageReporter(progress.fileno()))

    assert isinstance(report, ChildFailed)
    assert (report.rule, reason in report.reason) == (rule, True), report


def test_a_factory_that_hangs_is_stopped(tmp_path: Path) -> None:
    outcome = failed(run("hangs", tmp_path, limits=FitLimits(timeout_s=2)))

    assert outcome.rule == "timeout"
    assert outcome.reason == "the fit took longer than 2 s and was stopped"


@pytest.mark.slow
def test_garbage_on_the_output_does_not_matter(tmp_path: Path) -> None:
    stages: list[str] = []

    fitted = made(run("prints_garbage", tmp_path, stages=stages))

    assert len(stages) == 8
    assert 0 < len(fitted.output) <= 4_096


@pytest.mark.slow
def test_a_factory_that_forks_gives_one_model(tmp_path: Path) -> None:
    stages: list[str] = []

    made(run("forks", tmp_path, stages=stages))

    assert len(stages) == len(set(stages)) == 8


@pytest.mark.slow
def test_too_few_rows_for_a_reference_are_a_reason(tmp_path: Path) -> None:
    outcome = failed(run("good", tmp_path, frame(120)))

    assert outcome.rule == "raised"
    assert "while learning the reference profile" in outcome.reason


@pytest.mark.slow
def test_an_earlier_attempt_is_forgotten(tmp_path: Path) -> None:
    made(run("good", tmp_path))

    assert failed(run("ends_at_once", tmp_path)).rule == "raised"


def test_a_listener_that_raises_leaves_nothing_running(tmp_path: Path) -> None:
    def listen(_stage: str) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        fit(
            "estimator_factories:good",
            frame(),
            FEATURES,
            LIMITS,
            tmp_path,
            listen,
            model="m",
            version="1",
        )
    assert not FitFiles(tmp_path).report.exists()


def test_a_frame_that_nothing_can_be_fitted_on_is_the_callers_mistake(tmp_path: Path) -> None:
    unlabelled = frame().assign(label=None)
    for training, message in [
        (frame().drop(columns="temp"), "no column temp"),
        (unlabelled, "900 of 900 rows have no label"),
        (frame(2), "2 rows cannot be cut into 3 folds"),
    ]:
        with pytest.raises(ValueError, match=message):
            run("good", tmp_path, training)
