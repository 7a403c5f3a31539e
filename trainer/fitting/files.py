"""What the trainer and the fitting process tell each other, as files of one folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec

from producer.events import Prediction
from stream_monitor.reference.profile import ClassLabel, Task
from trainer.fitting.results import FitFailureRule

LABEL: Final = "label"
TIME: Final = "time_ms"
"""Event time, where the training frame has it: a season can be learnt by it."""


class FitRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to fit; the frames lie beside it."""

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
    """A model came of it; its artifact lies beside this."""

    profile: dict[str, Any]
    out_of_fold: list[Prediction]
    held_out: list[Prediction]
    metrics: dict[str, float]


class ChildFailed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """None came of it, and why."""

    rule: FitFailureRule
    reason: str


ChildReport: TypeAlias = ChildFitted | ChildFailed


class FitFiles:
    """The names of the files."""

    def __init__(self, folder: Path) -> None:
        self.request = folder / "request.json"
        self.training = folder / "training.npz"
        self.held_out = folder / "held-out.npz"
        self.artifact = folder / "model.skops"
        self.report = folder / "report.json"

    def clear(self) -> None:
        """Forget an earlier attempt."""
        for file in vars(self).values():
            file.unlink(missing_ok=True)
