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

from producer.events import MAX_EVENT_BYTES
from stream_monitor.reference.profile import profile_to_data
from trainer.fitting.factory import NotAnEstimator, make_estimator
from trainer.fitting.files import (
    ChildFailed,
    ChildFitted,
    ChildReport,
    ChildTried,
    FitFiles,
    FitRequest,
    read_table,
)
from trainer.fitting.model_fit import LABEL, fit_model, fit_windows
from trainer.fitting.predictions import InvalidPredictions, predictions
from trainer.fitting.results import FitFailureRule
from trainer.registry import artifact
from trainer.registry.errors import NotStorable, UntrustedType

_MAX_REASON: Final = 500  # characters
_PROBE_ROWS: Final = 200
MAX_PROFILE_BYTES: Final = MAX_EVENT_BYTES - 64_000
"""The rest of `MAX_EVENT_BYTES` is for the other fields of the event."""


class ProfileTooLarge(ValueError):  # noqa: N818 - names a finding
    """The reference profile is too large for a record of the event topic."""


class StageReporter:
    """Reports the stages of a fit to the trainer; the last one explains a failure."""

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
    report = report_or_failure(request, files, stages)
    stages.exit_if_forked()
    temporary = files.report.with_suffix(".tmp")
    temporary.write_bytes(msgspec.json.encode(report))
    temporary.replace(files.report)


def report_or_failure(request: FitRequest, files: FitFiles, stages: StageReporter) -> ChildReport:
    """Return the report of `report_of`; turn any error of user code into a failure report."""
    try:
        return report_of(request, files, stages)
    except BaseException as error:  # noqa: BLE001
        return ChildFailed(rule=_rule(error), reason=_reason(error, stages.last))


def report_of(request: FitRequest, files: FitFiles, stages: StageReporter) -> ChildReport:
    """Execute the request: back-test windows on the holdout, or fit and store the model."""
    training = read_table(files.training)
    held_out = read_table(files.held_out) if request.held_out else None
    stages(f"making the model with {request.factory}")
    estimator = make_estimator(request.factory)
    if request.windows:
        if held_out is None:
            raise ValueError("windows are compared on a holdout, but the request has none")
        spec = request.spec.resolved(estimator, training[LABEL].infer_objects())
        tried = fit_windows(estimator, training, held_out, request.windows, spec, stages)
        stages.exit_if_forked()
        return ChildTried(
            held_out=tried,
            task=spec.task or "binary",
            positive=1 if spec.positive is None else spec.positive,
        )
    fitted = fit_model(estimator, training, request.spec, stages)
    stages("storing")
    data = artifact.dump(fitted.estimator)
    stored = artifact.load(data)
    task, positive = fitted.profile.task, fitted.profile.positive
    probe = training.tail(_PROBE_ROWS) if held_out is None else held_out
    later = predictions(stored, probe[request.spec.features], task, positive)
    stages.exit_if_forked()
    files.artifact.write_bytes(data)
    return ChildFitted(
        profile=checked_profile_size(profile_to_data(fitted.profile)),
        out_of_fold=fitted.out_of_fold,
        held_out=later if request.held_out else [],
        metrics=fitted.metrics,
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
