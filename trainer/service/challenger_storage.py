"""Step ``storing`` of a job: stores the challenger, its rows and the decision about it."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import pandas as pd

from producer.failpoints import failpoint
from trainer.dataset.frame import Dataset, split_holdout
from trainer.fitting.results import FittedModel
from trainer.jobs.job import Job
from trainer.registry.errors import VersionTaken
from trainer.registry.manifest import GATE_DECISION
from trainer.service.context import (
    JobWorkspace,
    StepInputs,
    TrainerContext,
    challenger_of,
    dataset_of,
    factory_of,
    fitted_of,
)
from trainer.service.pool_forming import form_pool
from trainer.service.proposal import needs_person
from trainer.service.step_result import StepEvent, StepResult
from trainer.service.version_records import stored_version_record

_FRAMES_KEPT: Final = 3
"""Training frames kept for each model: the newest one trains, the others are for a damaged one."""


def store_challenger(
    job: Job, context: TrainerContext, workspace: JobWorkspace, _inputs: StepInputs
) -> StepResult:
    """Store the challenger with any decision, because a person may promote it later.

    Model servers read of one that is not put into service next, for shadow predictions.
    A restarted job may find the challenger that it stored before; that one and its decision stay.
    """
    challenger, fitted, dataset = challenger_of(job), fitted_of(workspace), dataset_of(workspace)
    decision = {"promote": job.work.promote, "rule": job.work.rule, "reason": job.work.reason}
    try:
        manifest = context.registry.store(
            fitted.artifact,
            model=job.model,
            version=challenger,
            profile=fitted.profile,
            training=_description(job, dataset, fitted, context),
            metrics={**fitted.metrics, **job.work.numbers, GATE_DECISION: decision},
            factory=factory_of(job, context),
            caused_by=job.caused_by,
            time_ms=job.now_ms,
            pool=form_pool(job, context, workspace) if job.work.promote else None,
        )
    except VersionTaken:
        manifest = context.registry.manifest(job.model, challenger)
        if manifest.caused_by != job.caused_by:
            raise
    context.publish([manifest])
    _remove_old_frames(context)
    failpoint("trainer.storing.done")
    decision = manifest.metrics[GATE_DECISION]
    numbers = {name: manifest.metrics.get(name) for name in job.work.numbers}
    work = {"artifact_sha256": manifest.artifact_sha256, "numbers": numbers, **decision}
    stored = stored_version_record(
        context.topics.models, manifest, time_ms=job.now_ms, caused_by=job.caused_by
    )
    if decision["promote"]:
        after = job.to("promoting", **work)
        return StepResult(after, (), None, (stored,) if needs_person(after, context) else ())
    step_event = StepEvent("rejected", decision["rule"], decision["reason"], numbers)
    return StepResult(job.to("storing", **work).ended("rejected"), (step_event,), None, (stored,))


def _remove_old_frames(context: TrainerContext) -> None:
    """Keep the training frames of the newest versions of each model; a frame holds all rows."""
    kept = {
        manifest.training.get("frame_sha256")
        for model in context.registry.models()
        for manifest in context.registry.versions(model)[-_FRAMES_KEPT:]
    }
    context.registry.frames.remove_except({sha256 for sha256 in kept if sha256 is not None})


def _description(
    job: Job, dataset: Dataset, fitted: FittedModel, context: TrainerContext
) -> dict[str, Any]:
    """Describe for the manifest which rows evaluated, trained or were left out, and the fit."""
    rows = dataset.frame.tail(int(job.work.numbers["window_rows"]))
    _earlier, later = split_holdout(dataset.frame, context.policy.holdout_rows)
    return {
        **msgspec.to_builtins(dataset.record),
        "frame_sha256": context.registry.frames.store(dataset.frame),
        "trained": {"window": job.work.numbers["window"], **_extent(rows)},
        "evaluated": _extent(later),
        "left_out": dataset.record.left_out(),
        "fit_output": fitted.output,
    }


def _extent(rows: pd.DataFrame) -> dict[str, int]:
    return {
        "rows": len(rows),
        "first_ms": int(rows["time_ms"].iloc[0]),
        "last_ms": int(rows["time_ms"].iloc[-1]),
    }
