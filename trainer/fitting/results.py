"""What may come of a fit, and within which limits."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from producer.events import Prediction
from stream_monitor.reference.profile import ReferenceProfile

FitFailureRule: TypeAlias = Literal[
    "raised",
    "timeout",
    "memory",
    "not_an_estimator",
    "bad_output",
    "untrusted_type",
    "profile_too_large",
]
"""``raised``: the factory or the fit raised, or its process died.  ``bad_output``: predictions
that are none.  ``untrusted_type``: the model cannot be stored without pickle.
``profile_too_large``: no record of the log could carry the reference profile."""


class FitLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How long a fit may take, and how much memory.

    ``max_memory_bytes`` is the resident memory of the fitting process and its children (looked at
    twenty
    times a second, on Linux), and the address space it may ask for once its libraries are loaded.
    ``n_folds`` spans of time give the out-of-fold predictions; the model is fitted once more for
    each.

    Raises:
        ValueError: a number that cannot be meant.
    """

    timeout_s: float = 600.0
    max_memory_bytes: int = 2 * 1024**3
    n_folds: int = 5

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if not self.timeout_s > 0:
            raise ValueError(f"timeout_s {self.timeout_s}: must be above 0")
        if self.max_memory_bytes <= 0:
            raise ValueError(f"max_memory_bytes {self.max_memory_bytes}: must be above 0")
        if self.n_folds < 2:
            raise ValueError(f"n_folds {self.n_folds}: must be at least 2")


class FittedModel(NamedTuple):
    """A model that came of a fit.

    ``artifact`` is the skops file, to hand to `Registry.store`; ``profile`` the reference from
    out-of-fold predictions; ``out_of_fold`` these predictions, one for each row of the training
    frame; ``held_out`` those of the stored model for the later events, where there are any.
    """

    artifact: Path
    profile: ReferenceProfile
    out_of_fold: list[Prediction]
    held_out: list[Prediction]
    metrics: dict[str, float]
    seconds: float


class FitFailure(NamedTuple):
    """No model came of it: by which rule, and why, in a sentence."""

    rule: FitFailureRule
    reason: str
    seconds: float
