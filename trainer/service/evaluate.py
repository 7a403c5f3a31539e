"""The later steps of a job: fit, comparison with the champion, storing, promotion."""

from __future__ import annotations

from typing import Literal

import msgspec
import pandas as pd
import structlog

from producer.events import Prediction
from producer.failpoints import failpoint
from stream_monitor.reference.profile import ReferenceProfile
from trainer.dataset.frame import Dataset, split_by_time
from trainer.evaluation.gate import compare
from trainer.evaluation.losses import losses
from trainer.fitting.predictions import predictions
from trainer.fitting.results import FitFailure, FittedModel
from trainer.fitting.run import fit
from trainer.jobs.champions import Champion
from trainer.jobs.job import Job
from trainer.policy.naming import derived_id
from trainer.registry.errors import VersionTaken
from trainer.registry.manifest import Manifest
from trainer.service.announce import announce, update_of
from trainer.service.context import JobWorkspace, StepInputs, TrainerContext
from trainer.service.step_result import StepEvent, StepResult
from trainer.service.version_records import version_records

log = structlog.get_logger(__name__)


def fit_challenger(
    job: Job, context: TrainerContext, workspace: JobWorkspace, _inputs: StepInputs
) -> StepResult:
    """Fit the challenger on the training rows, in a separate process."""
    failpoint("trainer.fitting.started")
    dataset, challenger = _dataset(workspace), _challenger(job)
    earlier, later = _split(dataset, job, context)
    profile = _champions_profile(job, context)
    outcome = fit(
        _factory(job, context),
        earlier,
        dataset.features,
        context.limits,
        workspace.folder,
        lambda stage: log.info("fitting", model=job.model, version=challenger, stage=stage),
        model=job.model,
        version=challenger,
        task=None if profile is None else profile.task,
        threshold=0.5 if profile is None else profile.threshold,
        positive=None if profile is None else profile.positive,
        held_out=later,
        segmented_by=() if profile is None else profile.segmented_by,
        events_per_week=dataset.events_per_week,
    )
    failpoint("trainer.fitting.done")
    seconds: dict[str, float | int | str | None] = {"seconds": round(outcome.seconds, 3)}
    if isinstance(outcome, FitFailure):
        step_event = StepEvent("failed", outcome.rule, outcome.reason, seconds)
        return StepResult(job.ended("failed"), (step_event,))
    workspace.fitted = outcome
    numbers = seconds | {"rows": len(earlier), "held_out": len(later)} | outcome.metrics
    reason = f"{job.model}@{challenger} is fitted; it is compared on {len(later):,} later events."
    return StepResult(job.to("evaluating"), (StepEvent("succeeded", "fitted", reason, numbers),))


def compare_models(
    job: Job, context: TrainerContext, workspace: JobWorkspace, _inputs: StepInputs
) -> StepResult:
    """Compare champion and challenger on the holdout."""
    dataset, fitted = _dataset(workspace), _fitted(workspace)
    _earlier, later = _split(dataset, job, context)
    served, source = _champions_predictions(later, dataset.features, job, context, fitted.profile)
    labels = later["label"].tolist()
    reference = fitted.profile
    if context.gate.metric == "brier" and reference.task != "binary":
        reason = f"the gate's metric is 'brier', which is for binary models, not {reference.task}"
        step_event = StepEvent(
            "failed", "metric", f"{reason}: set trainer.gate.metric to 'error'.", {}
        )
        return StepResult(job.ended("failed"), (step_event,))
    champion_losses, challenger_losses = (
        losses(
            model_predictions,
            labels,
            reference.task,
            threshold=reference.threshold,
            positive=reference.positive,
            metric=context.gate.metric,
        )
        for model_predictions in (served, fitted.held_out)
    )
    verdict = compare(champion_losses, challenger_losses, context.gate)
    failpoint("trainer.evaluating.done")
    return StepResult(
        job.to(
            "storing",
            promote=verdict.promote,
            rule=verdict.rule,
            reason=verdict.reason
            if source != "none"
            else f"{_CHAMPION_UNKNOWN_REASON} {verdict.reason}",
            numbers={**verdict.numbers, "champion_predictions": source},
        )
    )


_CHAMPION_UNKNOWN_REASON = (
    "The champion served none of the events and is not in the registry, so its predictions are "
    "not known."
)


def store_challenger(
    job: Job, context: TrainerContext, workspace: JobWorkspace, _inputs: StepInputs
) -> StepResult:
    """Store the challenger with any verdict, because a person may promote it later.

    A restarted job may find the challenger that it stored before; that one and its verdict stay.
    """
    challenger, fitted, dataset = _challenger(job), _fitted(workspace), _dataset(workspace)
    verdict = {"promote": job.work.promote, "rule": job.work.rule, "reason": job.work.reason}
    try:
        manifest = context.registry.store(
            fitted.artifact,
            model=job.model,
            version=challenger,
            profile=fitted.profile,
            training=msgspec.to_builtins(dataset.record),
            metrics={**fitted.metrics, **job.work.numbers, "verdict": verdict},
            factory=_factory(job, context),
            caused_by=job.caused_by,
            time_ms=job.now_ms,
        )
    except VersionTaken:
        manifest = context.registry.manifest(job.model, challenger)
        if manifest.caused_by != job.caused_by:
            raise
    failpoint("trainer.storing.done")
    verdict = manifest.metrics["verdict"]
    numbers = {name: manifest.metrics.get(name) for name in job.work.numbers}
    work = {"artifact_sha256": manifest.artifact_sha256, "numbers": numbers, **verdict}
    if verdict["promote"]:
        return StepResult(job.to("promoting", **work))
    step_event = StepEvent("rejected", verdict["rule"], verdict["reason"], numbers)
    return StepResult(job.to("storing", **work).ended("rejected"), (step_event,))


def promote_challenger(
    job: Job, context: TrainerContext, _workspace: JobWorkspace, _inputs: StepInputs
) -> StepResult:
    """Announce the version to the monitor, then record it as champion.

    The transaction of the champion also puts the record for the model servers into the outbox.
    """
    challenger = _challenger(job)
    manifest = context.registry.manifest(job.model, challenger)
    profile = manifest.reference()
    announce(
        context.kafka.bootstrap_servers,
        profile,
        update=update_of(
            profile,
            update_id=derived_id("update", job.job_id),
            time_ms=job.now_ms,
            artifact_sha256=manifest.artifact_sha256,
            caused_by=job.caused_by,
        ),
        topic_prefix=context.prefix,
        shards=context.shards,
        librdkafka=context.kafka.librdkafka,
    )
    failpoint("trainer.promoting.announced")
    step: Literal["promoted", "rolled_back"] = "rolled_back" if job.work.rolls_back else "promoted"
    step_event = StepEvent(step, job.work.rule, job.work.reason, job.work.numbers)
    return StepResult(
        job.ended(step),
        (step_event,),
        champion_from(job, manifest),
        tuple(
            version_records(
                context.topics.models, manifest, time_ms=job.now_ms, caused_by=job.caused_by
            )
        ),
    )


def champion_from(job: Job, manifest: Manifest) -> Champion:
    """Return the champion that a job promotes."""
    return Champion(
        job.model, manifest.version, manifest.artifact_sha256, job.now_ms, job.caused_by
    )


def _champions_predictions(
    later: pd.DataFrame,
    features: list[str],
    job: Job,
    context: TrainerContext,
    reference: ReferenceProfile,
) -> tuple[list[Prediction | None], str]:
    """Return the champion's predictions for the holdout, and their source."""
    served = [
        prediction if version == job.champion else None
        for prediction, version in zip(later["prediction"], later["version"], strict=True)
    ]
    missing = [i for i, prediction in enumerate(served) if prediction is None]
    manifest = context.manifest(job.model, job.champion)
    if not missing:
        return served, "served"
    if manifest is None:
        return served, "served" if len(missing) < len(served) else "none"
    estimator = context.registry.load(manifest.artifact_sha256)
    computed = predictions(
        estimator, later.iloc[missing][features], reference.task, reference.positive
    )
    for i, prediction in zip(missing, computed, strict=True):
        served[i] = prediction
    return served, "artifact" if len(missing) == len(served) else "served, artifact"


def _split(
    dataset: Dataset, job: Job, context: TrainerContext
) -> tuple[pd.DataFrame, pd.DataFrame]:
    return split_by_time(
        dataset.frame,
        since_ms=job.work.onset_ms,
        holdout_ratio=context.policy.holdout_ratio,
        min_holdout=context.gate.min_events,
    )


def _champions_profile(job: Job, context: TrainerContext) -> ReferenceProfile | None:
    manifest = context.manifest(job.model, job.champion)
    return None if manifest is None else manifest.reference()


def _factory(job: Job, context: TrainerContext) -> str:
    return job.work.factory or context.factories[job.model]


def _dataset(workspace: JobWorkspace) -> Dataset:
    if workspace.dataset is None:
        raise RuntimeError("the job has no training set")
    return workspace.dataset


def _fitted(workspace: JobWorkspace) -> FittedModel:
    if workspace.fitted is None:
        raise RuntimeError("the job has no fitted challenger")
    return workspace.fitted


def _challenger(job: Job) -> str:
    if job.challenger is None:
        raise RuntimeError("the job has no name for its challenger")
    return job.challenger
