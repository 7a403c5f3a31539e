"""The files by which the trainer and the fitting process exchange request and report."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from producer.events import Prediction
from stream_monitor.reference.profile import ClassLabel, Task
from trainer.fitting.model_fit import FitSpec
from trainer.fitting.results import FitFailureRule
from trainer.policy.training_window import TrainingWindow


class FitRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request for a fit; its frames are other files of the folder.

    With ``windows`` each of them is fitted and predicts the holdout, and no model is stored.
    """

    factory: str
    features: list[str]
    model: str
    version: str
    task: Task | None
    threshold: float
    positive: ClassLabel | None
    n_folds: int
    max_memory_bytes: int
    held_out: bool
    segmented_by: tuple[str, ...] = ()
    events_per_week: float | None = None
    windows: tuple[TrainingWindow, ...] = ()

    def spec(self) -> FitSpec:
        """Return the columns and the task of the fit."""
        return FitSpec(
            features=self.features,
            model=self.model,
            version=self.version,
            task=self.task,
            threshold=self.threshold,
            positive=self.positive,
            n_folds=self.n_folds,
            segmented_by=self.segmented_by,
            events_per_week=self.events_per_week,
        )


class ChildTried(msgspec.Struct, frozen=True, kw_only=True, tag="tried"):
    """The predictions for the holdout by window; a window that lacks a class is left out."""

    held_out: dict[str, list[Prediction]]
    task: Task
    positive: ClassLabel


class ChildFitted(msgspec.Struct, frozen=True, kw_only=True, tag="made"):
    """The fit produced a model; its artifact is another file of the folder."""

    profile: dict[str, Any]
    out_of_fold: list[Prediction]
    held_out: list[Prediction]
    metrics: dict[str, float]


class ChildFailed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """The fit produced no model: the rule and the reason."""

    rule: FitFailureRule
    reason: str


ChildReport: TypeAlias = ChildTried | ChildFitted | ChildFailed


class FitFiles:
    """Paths of the files in the folder of one fit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.request = folder / "request.json"
        self.training = folder / "training.npz"
        self.held_out = folder / "held-out.npz"
        self.artifact = folder / "model.skops"
        self.report = folder / "report.json"

    def clear(self) -> None:
        """Delete the files of an earlier attempt."""
        for file in (self.request, self.training, self.held_out, self.artifact, self.report):
            file.unlink(missing_ok=True)
