"""The files by which the trainer and the fitting process exchange request and report."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec

from producer.events import Prediction
from stream_monitor.reference.profile import ClassLabel, Task
from trainer.fitting.results import FitFailureRule

LABEL: Final = "label"
TIME: Final = "time_ms"
"""Event time, if the training frame has it; a seasonal reference needs it."""


class FitRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to fit; the frames are other files of the folder."""

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


ChildReport: TypeAlias = ChildFitted | ChildFailed


class FitFiles:
    """Paths of the files in the folder of one fit."""

    def __init__(self, folder: Path) -> None:
        self.request = folder / "request.json"
        self.training = folder / "training.npz"
        self.held_out = folder / "held-out.npz"
        self.artifact = folder / "model.skops"
        self.report = folder / "report.json"

    def clear(self) -> None:
        """Delete the files of an earlier attempt."""
        for file in vars(self).values():
            file.unlink(missing_ok=True)
