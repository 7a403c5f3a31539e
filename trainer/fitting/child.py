"""The fitting process: reads its request, fits the model, writes a report.

    trainer.fitting.child FOLDER PROGRESS_FD LIFELINE_FD

It writes stages to the progress pipe.  The lifeline pipe carries no data: when it closes, the
trainer has ended, and this process ends with its children.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pandas as pd

from producer.events import MAX_EVENT_BYTES, Prediction
from stream_monitor.reference.frame import profile_from_frame
from stream_monitor.reference.loss import prediction_loss
from stream_monitor.reference.profile import ClassLabel, Task, profile_to_data
from trainer.fitting.factory import NotAnEstimator, make_estimator
from trainer.fitting.files import (
    LABEL,
    TIME,
    ChildFailed,
    ChildFitted,
    ChildReport,
    FitFiles,
    FitRequest,
)
from trainer.fitting.folds import out_of_fold
from trainer.fitting.frame_file import read_table
from trainer.fitting.importance import importances
from trainer.fitting.predictions import InvalidPredictions, predictions, task_of
from trainer.fitting.results import FitFailureRule
from trainer.registry import artifact
from trainer.registry.errors import NotStorable, UntrustedType

_MAX_REASON: Final = 500  # characters
_PROBE_ROWS: Final = 200
MAX_PROFILE_BYTES: Final = MAX_EVENT_BYTES - 64_000
"""The rest of `MAX_EVENT_BYTES` is for the other fields of the event."""
_PREDICTION: Final = "driftline prediction"


class ProfileTooLarge(ValueError):  # noqa: N818 - a finding, named for what it says
    """The reference profile is too large for a record of the event topic."""


class StageReporter:
    """Reports stages to the trainer, and keeps the last one for the reason of a failure."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._process = os.getpid()
        self.last = "start"

    def __call__(self, stage: str) -> None:
        """Report a stage; errors of the pipe are ignored."""
        self.exit_if_forked()
        self.last = stage
        try:
            os.write(self._descriptor, stage.encode() + b"\n")
        except OSError:
            self._descriptor = os.open(os.devnull, os.O_WRONLY)  # the factory closed it

    def exit_if_forked(self) -> None:
        """End the copy of this process, if the factory forked."""
        if os.getpid() != self._process:
            os._exit(0)


def main(folder: Path, progress: int, lifeline: int) -> None:
    """Fit the request in the folder and write the report there."""
    threading.Thread(target=_exit_with_parent, args=(lifeline,), daemon=True).start()
    files, stages = FitFiles(folder), StageReporter(progress)
    request = msgspec.json.decode(files.request.read_bytes(), type=FitRequest)
    sys.path.append(str(Path.cwd()))  # last, so that a user's `random.py` does not replace Python's
    _limit_memory(request.max_memory_bytes)
    try:
        report: ChildReport = fit_and_report(request, files, stages)
    except BaseException as error:  # noqa: BLE001 - any error of user code becomes a report
        report = ChildFailed(rule=_rule(error), reason=_reason(error, stages.last))
    stages.exit_if_forked()
    temporary = files.report.with_suffix(".tmp")
    temporary.write_bytes(msgspec.json.encode(report))
    temporary.replace(files.report)


def fit_and_report(request: FitRequest, files: FitFiles, stages: StageReporter) -> ChildFitted:
    """Fit the model, store it, load it again, and predict with the loaded model."""
    training = read_table(files.training)
    frame, labels = training[request.features], training[LABEL].infer_objects()
    stages(f"making the model with {request.factory}")
    estimator = make_estimator(request.factory)
    task = request.task or task_of(estimator, labels)
    positive = _positive(request.positive, task, labels)
    predicted = out_of_fold(
        estimator,
        frame,
        labels,
        task=task,
        positive=positive,
        n_folds=request.n_folds,
        on_stage=stages,
    )
    stages(f"fitting on {len(frame)} events")
    estimator.fit(frame, labels)
    stages("storing")
    data = artifact.dump(estimator)
    stored = artifact.load(data)
    probe = read_table(files.held_out) if request.held_out else training.tail(_PROBE_ROWS)
    later = predictions(stored, probe[request.features], task, positive)
    stages("computing importances")
    important: dict[str, float] = {}
    without = ""
    try:  # an error here must not cost the model
        important = importances(
            stored, training[request.features], labels, task, positive, request.threshold
        )
    except Exception as error:  # noqa: BLE001 - user code on shuffled rows
        without = f", without importances: {type(error).__name__}: {error}"[:_MAX_REASON]
    stages(f"learning the reference profile{without}")
    timed = TIME in training and TIME not in request.features
    more = {_PREDICTION: pd.Series(predicted)}
    if timed:
        more[TIME] = pd.to_datetime(training[TIME], unit="ms", utc=True)
    profile = profile_from_frame(
        training.assign(**more),
        model=request.model,
        version=request.version,
        prediction=_PREDICTION,
        label=LABEL,
        features=request.features,
        task=task,
        threshold=request.threshold,
        positive=positive,
        time=TIME if timed else None,
        segments=request.segmented_by,
        importances=important,
        events_per_week=request.events_per_week,
    )
    stages.exit_if_forked()
    files.artifact.write_bytes(data)
    return ChildFitted(
        profile=checked_profile_size(profile_to_data(profile)),
        out_of_fold=predicted,
        held_out=later if request.held_out else [],
        metrics=_metrics(task, request.threshold, positive, predicted, labels),
    )


def checked_profile_size(profile: dict[str, Any]) -> dict[str, Any]:
    """Return the profile if a record of the event topic can carry it.

    Raises:
        ProfileTooLarge: it is too large, so that the version could never be announced.
    """
    n_bytes = len(msgspec.json.encode(profile))
    if n_bytes > MAX_PROFILE_BYTES:
        raise ProfileTooLarge(
            f"the reference profile of {len(profile['features'])} features has {n_bytes:,} bytes, "
            f"at most {MAX_PROFILE_BYTES:,} are allowed: train on fewer features"
        )
    return profile


def _positive(asked: ClassLabel | None, task: Task, labels: pd.Series[Any]) -> ClassLabel:
    """Return the class whose probability is the score: the requested one, or the last."""
    if asked is not None or task != "binary":
        return 1 if asked is None else asked
    last = np.unique(labels.to_numpy())[-1]
    positive: ClassLabel = last.item() if isinstance(last, np.generic) else last
    return positive


def _metrics(
    task: Task,
    threshold: float,
    positive: ClassLabel,
    predicted: list[Prediction],
    labels: pd.Series[Any],
) -> dict[str, float]:
    costs = [
        prediction_loss(task, threshold, positive, prediction, truth)
        for prediction, truth in zip(predicted, labels.tolist(), strict=True)
    ]
    known = [cost for cost in costs if cost is not None]
    if not known:
        raise InvalidPredictions("no prediction could be compared with its label")
    return {"out_of_fold_loss": sum(known) / len(known), "n_events": float(len(labels))}


def _limit_memory(max_memory_bytes: int) -> None:
    """Limit address space to what is mapped now plus ``max_memory_bytes``, if the system can."""
    try:
        mapped = int(Path("/proc/self/statm").read_text("ascii").split()[0])
        wall = mapped * resource.getpagesize() + max_memory_bytes
        resource.setrlimit(resource.RLIMIT_AS, (wall, wall))
    except (OSError, ValueError):
        pass  # the trainer's own check remains


def _exit_with_parent(lifeline: int) -> None:
    while os.read(lifeline, 1):
        pass
    os.killpg(0, signal.SIGKILL)


def _rule(error: BaseException) -> FitFailureRule:
    if isinstance(error, MemoryError):
        return "memory"
    if isinstance(error, NotAnEstimator):
        return "not_an_estimator"
    if isinstance(error, UntrustedType | NotStorable):
        return "untrusted_type"
    if isinstance(error, ProfileTooLarge):
        return "profile_too_large"
    return "bad_output" if isinstance(error, InvalidPredictions) else "raised"


def _reason(error: BaseException, stage: str) -> str:
    if isinstance(
        error, NotAnEstimator | UntrustedType | NotStorable | InvalidPredictions | ProfileTooLarge
    ):
        return str(error)[:_MAX_REASON]
    what = f"{type(error).__name__}: {error}"[:_MAX_REASON]
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"while {stage}: {what} ({Path(where.filename).name}, line {where.lineno})"


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
