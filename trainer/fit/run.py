"""Fitting in a subprocess: the parent's side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from stream_monitor.reference.profile import ClassLabel, Task
from trainer.fit.outcome import FitFailed, FitLimits, Fitted


def fit(
    factory: str,
    training: pd.DataFrame,
    features: Sequence[str],
    limits: FitLimits,
    folder: Path,
    on_progress: Callable[[str], None],
    *,
    model: str,
    version: str,
    task: Task | None = None,
    threshold: float = 0.5,
    positive: ClassLabel | None = None,
    held_out: pd.DataFrame | None = None,
) -> Fitted | FitFailed:
    """Fit what ``factory`` (``module:function``) returns, in a process of its own."""
    raise NotImplementedError
