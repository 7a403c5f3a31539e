"""Runs a fit in a separate process: the trainer's side.

This protects against mistakes (a fit that hangs, uses too much memory, returns invalid values), not
against malice: the factory is the user's code and has the rights of the trainer.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
import pandas as pd

from producer.safe_path import python_command, safe_environment
from stream_monitor.reference.profile import ClassLabel, Task, profile_from_data
from stream_monitor.reference.segment_reference import parse_segment
from trainer.fitting.files import (
    ChildFailed,
    ChildFitted,
    ChildReport,
    ChildTried,
    FitFiles,
    FitRequest,
    write_table,
)
from trainer.fitting.limited_process import ProcessResult, run_limited
from trainer.fitting.model_fit import LABEL, TIME, FitSpec
from trainer.fitting.results import FitFailure, FitLimits, FittedModel, TriedWindows
from trainer.policy.training_window import TrainingWindow

# Threads of a fit and of other processes on the same cores wait for each other by spinning.
_ONE_THREAD: Final = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "LOKY_MAX_CPU_COUNT": "1",
}
_MAX_OUTPUT_CHARS: Final = 300


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
    segmented_by: Sequence[str] = (),
    events_per_week: float | None = None,
) -> FittedModel | FitFailure:
    """Fit the estimator of ``factory`` (``module:function``) on ``training``, in order of time.

    ``training`` has a column for each of ``features`` and a complete column ``label``.  The result
    contains the stored model's predictions for ``held_out``, so that the trainer never runs the
    model itself.  ``task`` defaults to that of the estimator, ``positive`` to the last class.
    ``segmented_by`` names the watched segments; one that is not a feature is left out.
    ``events_per_week`` is the rate of the traffic from which ``training`` was sampled.  ``folder``
    is only for this fit; it is created if missing, and files of an earlier attempt are overwritten.
    The factory is imported with the current directory at the end of the path.  Stages ("fold 2 of
    5") go to ``on_progress``.  Blocks until the fit ends.

    Raises:
        ValueError: no model can be fitted on the frame, which is a mistake of the caller.
    """
    spec = FitSpec(
        features=list(features),
        model=model,
        version=version,
        task=task,
        threshold=threshold,
        positive=positive,
        n_folds=limits.n_folds,
        segmented_by=tuple(
            one for one in segmented_by if parse_segment(one, features)[0] in features
        ),
        events_per_week=events_per_week,
    )
    request = FitRequest(
        factory=factory,
        spec=spec,
        max_memory_bytes=limits.max_memory_bytes,
        held_out=held_out is not None,
    )
    files = FitFiles(folder)
    report = _run(request, files, training, held_out, limits, on_progress)
    if isinstance(report, FitFailure):
        return report
    reported, ended = report
    if not isinstance(reported, ChildFitted) or not files.artifact.is_file():
        return _without_report(ended)
    try:
        profile = profile_from_data(reported.profile)
    except ValueError as error:
        return FitFailure(
            "bad_output",
            f"no reference profile can be built from its output: {error}",
            ended.seconds,
        )
    return FittedModel(
        artifact=files.artifact,
        profile=profile,
        out_of_fold=reported.out_of_fold,
        held_out=reported.held_out,
        metrics=reported.metrics,
        seconds=ended.seconds,
        output=ended.output,
    )


def try_windows(
    factory: str,
    training: pd.DataFrame,
    features: Sequence[str],
    limits: FitLimits,
    folder: Path,
    on_progress: Callable[[str], None],
    *,
    held_out: pd.DataFrame,
    windows: Sequence[TrainingWindow],
    task: Task | None = None,
    positive: ClassLabel | None = None,
) -> TriedWindows | FitFailure:
    """Fit the estimator of ``factory`` on each window of ``training``, and predict ``held_out``.

    The parameters are those of `fit`; no model is stored.

    Raises:
        ValueError: no model can be fitted on the frame, which is a mistake of the caller.
    """
    request = FitRequest(
        factory=factory,
        spec=FitSpec(list(features), "", "", task=task, positive=positive),
        max_memory_bytes=limits.max_memory_bytes,
        held_out=True,
        windows=tuple(windows),
    )
    report = _run(request, FitFiles(folder), training, held_out, limits, on_progress)
    if isinstance(report, FitFailure):
        return report
    reported, ended = report
    if not isinstance(reported, ChildTried):
        return _without_report(ended)
    return TriedWindows(reported.held_out, reported.task, reported.positive, ended.seconds)


def _run(
    request: FitRequest,
    files: FitFiles,
    training: pd.DataFrame,
    held_out: pd.DataFrame | None,
    limits: FitLimits,
    on_progress: Callable[[str], None],
) -> tuple[ChildFitted | ChildTried, ProcessResult] | FitFailure:
    """Run the fitting process on a request; return its report."""
    _check(training, request.spec.features, limits)
    files.folder.mkdir(parents=True, exist_ok=True)
    files.clear()
    write_table(training[_columns(training, request.spec.features)], files.training)
    if held_out is not None:
        write_table(held_out[request.spec.features], files.held_out)
    files.request.write_bytes(msgspec.json.encode(request))
    ended = run_limited(
        python_command("trainer.fitting.child", str(files.folder.absolute())),
        environment=_environment(os.environ),
        timeout_s=limits.timeout_s,
        max_memory_bytes=limits.max_memory_bytes,
        on_line=on_progress,
    )
    if ended.end_reason == "timeout":
        reason = f"the fit took longer than {limits.timeout_s:g} s and was stopped"
        return FitFailure("timeout", reason, ended.seconds)
    if ended.end_reason == "memory":
        reason = f"the fit used more than {limits.max_memory_bytes / 2**20:.0f} MiB and was stopped"
        return FitFailure("memory", reason, ended.seconds)
    report = _report(files.report)
    if report is None:
        return _without_report(ended)
    if isinstance(report, ChildFailed):
        reason = report.reason
        if report.rule == "memory":
            reason = (
                f"the fit asked for more than {limits.max_memory_bytes / 2**20:.0f} MiB: {reason}"
            )
        return FitFailure(report.rule, reason, ended.seconds)
    return report, ended


def _check(training: pd.DataFrame, features: Sequence[str], limits: FitLimits) -> None:
    missing = [name for name in (*features, LABEL) if name not in training]
    if missing:
        raise ValueError(f"the training frame has no column {', '.join(missing)}")
    if not features:
        raise ValueError("there is no feature to fit on")
    if len(training) < limits.n_folds:
        raise ValueError(f"{len(training)} rows cannot be cut into {limits.n_folds} folds")
    if unknown := int(training[LABEL].isna().sum()):
        raise ValueError(f"{unknown} of {len(training)} rows have no label")


def _environment(given: Mapping[str, str]) -> dict[str, str]:
    return safe_environment({**given, **_ONE_THREAD, "PYTHONUNBUFFERED": "1"})


def _report(file: Path) -> ChildReport | None:
    try:
        report: ChildReport = msgspec.json.decode(file.read_bytes(), type=ChildReport)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None
    return report


def _without_report(ended: ProcessResult) -> FitFailure:
    output_hint = (
        f"; the end of its output: {ended.output[-_MAX_OUTPUT_CHARS:]!r}" if ended.output else ""
    )
    if ended.code == -signal.SIGKILL:
        reason = "the fitting process was killed, as the kernel does when memory runs out"
        return FitFailure("memory", reason + output_hint, ended.seconds)
    if ended.code < 0:
        how = f"was ended by {signal.Signals(-ended.code).name}"
    else:
        how = f"ended with exit code {ended.code} and without a report"
    return FitFailure("raised", f"the fitting process {how}{output_hint}", ended.seconds)


def _columns(training: pd.DataFrame, features: Sequence[str]) -> list[str]:
    timed = TIME in training and TIME not in features
    return [*features, LABEL, *([TIME] if timed else [])]
