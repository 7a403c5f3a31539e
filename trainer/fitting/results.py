"""The limits and the possible results of a fit."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from producer.events import Prediction
from stream_monitor.reference.profile import ClassLabel, ReferenceProfile, Task

FitFailureRule: TypeAlias = Literal[
    "raised",
    "timeout",
    "memory",
    "not_an_estimator",
    "bad_output",
    "untrusted_type",
    "profile_too_large",
]
"""``raised``: the factory or the fit raised, or its process died.  ``bad_output``: invalid
predictions.  ``untrusted_type``: the model cannot be stored without pickle.
``profile_too_large``: a record of the event topic cannot carry the reference profile."""


class FitLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of the time and the memory of a fit.

    ``max_memory_bytes`` limits the resident memory of the fitting process and its children (checked
    twenty times a second, on Linux) and the address space it may request once its libraries are
    loaded.  ``n_folds`` is the number of folds for out-of-fold predictions; each costs one more
    fit.

    Raises:
        ValueError: a number is out of range.
    """

    timeout_s: float = 600.0
    max_memory_bytes: int = 2 * 1024**3
    n_folds: int = 5

    def __post_init__(self) -> None:
        """Validate the numbers."""
        if not self.timeout_s > 0:
            raise ValueError(f"timeout_s {self.timeout_s}: must be above 0")
        if self.max_memory_bytes <= 0:
            raise ValueError(f"max_memory_bytes {self.max_memory_bytes}: must be above 0")
        if self.n_folds < 2:
            raise ValueError(f"n_folds {self.n_folds}: must be at least 2")


class FittedModel(NamedTuple):
    """The result of a successful fit.

    ``artifact`` is the skops file for `Registry.store`.  ``profile`` is the reference profile from
    the out-of-fold predictions.  ``out_of_fold`` has one prediction per row of the training frame,
    ``held_out`` the stored model's predictions for the holdout, if there is one.  ``output`` is the
    end of what the fit printed, warnings included.
    """

    artifact: Path
    profile: ReferenceProfile
    out_of_fold: list[Prediction]
    held_out: list[Prediction]
    metrics: dict[str, float]
    seconds: float
    output: str = ""


class TriedWindows(NamedTuple):
    """The predictions for the holdout by window name, and the task and positive class used."""

    held_out: dict[str, list[Prediction]]
    task: Task
    positive: ClassLabel
    seconds: float


class FitFailure(NamedTuple):
    """The fit produced no model: the rule, and the reason as a sentence."""

    rule: FitFailureRule
    reason: str
    seconds: float
