"""Fitting in a process of its own: the trainer's side.

It guards against mistakes (a fit that hangs, eats memory, returns nonsense), not against malice:
the factory is the user's own code and runs with the rights of the trainer.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
import pandas as pd

from producer.own_process import python_module, safe_environment
from stream_monitor.reference.profile import ClassLabel, Task, profile_from_data
from stream_monitor.reference.segment import declared_part
from trainer.fit.exchange import LABEL, TIME, Exchange, Failed, Made, Report, Request
from trainer.fit.outcome import FitFailed, FitLimits, Fitted
from trainer.fit.process import Ended, run_limited
from trainer.fit.table import write_table

# Threads of several fits, or of a fit beside a monitor, wait for each other by spinning.
_ONE_THREAD: Final = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "LOKY_MAX_CPU_COUNT": "1",
}
_LAST_WORDS: Final = 300  # characters


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
) -> Fitted | FitFailed:
    """Fit what ``factory`` (``module:function``) returns on ``training``, in its order in time.

    ``training`` has a column for each of ``features`` and ``label``, which is known in each row.
    ``held_out`` are later events: the stored model's predictions for them come back with it, so
    that the trainer never runs the model itself.  ``task`` follows from the estimator, where it is
    not given; ``positive`` is the last class.  ``segmented_by`` are the segments that are watched
    by themselves; a declaration of what is no feature is left out.  ``events_per_week`` are those
    of the traffic that ``training`` is some of.  ``folder`` is this fit's own,
    made if missing; an earlier attempt in it is overwritten.  The factory is imported with the
    current directory at the end of the path.  Stages ("fold 2 of 5") go to ``on_progress``.
    Blocks until it is over.

    Raises:
        ValueError: a frame that nothing can be fitted on: the caller's mistake, not the factory's.
    """
    _check(training, features, limits)
    files = Exchange(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files.clear()
    write_table(training[_columns(training, features)], files.training)
    if held_out is not None:
        write_table(held_out[list(features)], files.held_out)
    request = Request(
        factory=factory,
        features=list(features),
        model=model,
        version=version,
        task=task,
        threshold=threshold,
        positive=positive,
        n_folds=limits.n_folds,
        max_bytes=limits.max_bytes,
        held_out=held_out is not None,
        segmented_by=tuple(
            one for one in segmented_by if declared_part(one, features)[0] in features
        ),
        events_per_week=events_per_week,
    )
    files.request.write_bytes(msgspec.json.encode(request))
    ended = run_limited(
        python_module("trainer.fit.child", str(folder.absolute())),
        environment=_environment(os.environ),
        max_seconds=limits.max_seconds,
        max_bytes=limits.max_bytes,
        on_line=on_progress,
    )
    return _outcome(files, ended, limits)


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


def _outcome(files: Exchange, ended: Ended, limits: FitLimits) -> Fitted | FitFailed:
    if ended.how == "timeout":
        reason = f"the fit took longer than {limits.max_seconds:g} s and was stopped"
        return FitFailed("timeout", reason, ended.seconds)
    if ended.how == "memory":
        reason = f"the fit used more than {limits.max_bytes / 2**20:.0f} MiB and was stopped"
        return FitFailed("memory", reason, ended.seconds)
    report = _report(files.report)
    if isinstance(report, Failed):
        reason = report.reason
        if report.rule == "memory":
            reason = f"the fit asked for more than {limits.max_bytes / 2**20:.0f} MiB: {reason}"
        return FitFailed(report.rule, reason, ended.seconds)
    if report is None or not files.artifact.is_file():
        return _died(ended)
    try:
        profile = profile_from_data(report.profile)
    except ValueError as error:
        return FitFailed("bad_output", f"no reference can be made of it: {error}", ended.seconds)
    return Fitted(
        artifact=files.artifact,
        profile=profile,
        out_of_fold=report.out_of_fold,
        held_out=report.held_out,
        metrics=report.metrics,
        seconds=ended.seconds,
    )


def _report(file: Path) -> Made | Failed | None:
    try:
        report: Made | Failed = msgspec.json.decode(file.read_bytes(), type=Report)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None
    return report


def _died(ended: Ended) -> FitFailed:
    said = f"; its last words: {ended.output[-_LAST_WORDS:]!r}" if ended.output else ""
    if ended.code == -signal.SIGKILL:
        reason = "the fitting process was killed, as the kernel does where memory runs out"
        return FitFailed("memory", reason + said, ended.seconds)
    if ended.code < 0:
        how = f"was ended by {signal.Signals(-ended.code).name}"
    else:
        how = f"ended with exit code {ended.code} and without a report"
    return FitFailed("raised", f"the fitting process {how}{said}", ended.seconds)


def _columns(training: pd.DataFrame, features: Sequence[str]) -> list[str]:
    timed = TIME in training and TIME not in features
    return [*features, LABEL, *([TIME] if timed else [])]
