"""Runs policies over a stream, and measures the error of their predictions."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from driftline.offline.backtest.driftline_policy import Driftline
from driftline.offline.backtest.fitted_versions import FittedVersions
from driftline.offline.backtest.labelled_stream import LabelledStream
from driftline.offline.backtest.plain_policies import (
    AdwinOnError,
    Change,
    LoopPolicy,
    Never,
    PolicyName,
    Schedule,
)
from stream_monitor.core.spec import MonitorSpec
from trainer.evaluation.losses import Floats, losses
from trainer.service.context import TrainerContext

CHUNK_ROWS: Final = 100
"""Rows served between two decisions."""


class PolicyResult(NamedTuple):
    """The result of a policy: the loss of each served row (n,), and the policy's work."""

    name: str
    losses: Floats
    fits: int
    swaps: int
    trial_fits: int
    changes: list[Change]
    seconds: float

    @property
    def error(self) -> float:
        """The mean loss of the rows that have a label."""
        return float(np.nanmean(self.losses))


def run_policies(
    stream: LabelledStream,
    make: Callable[[], Any],
    names: Sequence[PolicyName],
    context_in: Callable[[Path], TrainerContext],
    spec: MonitorSpec,
    on_progress: Callable[[str, int], None] = lambda _name, _row: None,
) -> list[PolicyResult]:
    """Run each policy over the whole stream; ``context_in`` gives the trainer's in a folder."""
    versions = FittedVersions(stream, make)
    results = []
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            policy = _policy(name, versions, context_in, spec, Path(folder))
            results.append(_run(name.text, policy, stream, on_progress))
            if isinstance(policy, Driftline):
                policy.close()
    return results


def _policy(
    name: PolicyName,
    versions: FittedVersions,
    context_in: Callable[[Path], TrainerContext],
    spec: MonitorSpec,
    folder: Path,
) -> LoopPolicy:
    if name.kind == "never":
        return Never(versions)
    if name.kind == "schedule":
        return Schedule(versions, name.period, name.window)
    if name.kind == "adwin":
        return AdwinOnError(versions)
    pool = name.kind == "driftline:pool"
    return Driftline(versions, context_in(folder), spec, folder, pool=pool)


def _run(
    name: str, policy: LoopPolicy, stream: LabelledStream, on_progress: Callable[[str, int], None]
) -> PolicyResult:
    began = time.monotonic()
    served = np.full(len(stream) - stream.n_training, np.nan)
    for start in range(stream.n_training, len(stream), CHUNK_ROWS):
        end = min(start + CHUNK_ROWS, len(stream))
        labels = stream.labels[start:end]
        found = losses(
            policy.predict(start, end),
            [0 if label is None else label for label in labels],
            stream.task,
            positive=stream.positive,
        )
        found[[label is None for label in labels]] = np.nan
        served[start - stream.n_training : end - stream.n_training] = found
        policy.advance(start, end)
        on_progress(name, end)
    return PolicyResult(
        name,
        served,
        policy.fits,
        policy.swaps,
        policy.trial_fits,
        policy.changes,
        time.monotonic() - began,
    )
