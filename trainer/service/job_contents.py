"""Accessors for the data that a step requires; they raise if the data are missing."""

from __future__ import annotations

from typing import Any

from stream_monitor.reference.profile import ReferenceProfile
from trainer.dataset.frame import Dataset
from trainer.fitting.results import FittedModel, TriedWindows
from trainer.jobs.job import Job
from trainer.registry.manifest import Manifest
from trainer.service.context import JobWorkspace, TrainerContext


def trained_rows(manifest: Manifest) -> dict[str, Any]:
    """Return the rows that a version was fitted on: their number and times."""
    found = manifest.training.get("trained", manifest.training)
    return found if isinstance(found, dict) else {}


def champions_profile(job: Job, context: TrainerContext) -> ReferenceProfile | None:
    """Return the champion's reference profile; ``None`` if it is not in the registry."""
    return context.profile(job.model, job.champion)


def factory_of(job: Job, context: TrainerContext) -> str:
    """Return the factory of the job's model."""
    return job.work.factory or context.factories[job.model]


def dataset_of(workspace: JobWorkspace) -> Dataset:
    """Return the job's training set."""
    if workspace.dataset is None:
        raise RuntimeError("the job has no training set")
    return workspace.dataset


def tried_of(workspace: JobWorkspace) -> TriedWindows:
    """Return the predictions of the windows that were tried."""
    if workspace.tried is None:
        raise RuntimeError("the job has no predictions of candidate windows")
    return workspace.tried


def fitted_of(workspace: JobWorkspace) -> FittedModel:
    """Return the fitted challenger."""
    if workspace.fitted is None:
        raise RuntimeError("the job has no fitted challenger")
    return workspace.fitted


def challenger_of(job: Job) -> str:
    """Return the name of the job's challenger."""
    if job.challenger is None:
        raise RuntimeError("the job has no name for its challenger")
    return job.challenger
