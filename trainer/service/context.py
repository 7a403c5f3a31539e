"""The trainer context, the same for all jobs, and the workspace of one job."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from producer.routing import Topics
from stream_monitor.reference.feature_reference import FeatureReference
from stream_monitor.reference.profile import ReferenceProfile
from stream_monitor.shared_settings import InvalidSetting, KafkaSettings, WebSettings
from trainer.dataset.frame import Dataset
from trainer.dataset.range_reader import RangeReader
from trainer.evaluation.gate import Gate
from trainer.evaluation.version_swap import SwapPolicy
from trainer.fitting.results import FitLimits, FittedModel, TriedWindows
from trainer.jobs.job import Job
from trainer.policy.excluded_ranges import ExcludedRange
from trainer.policy.excluded_sources import ExcludedSource
from trainer.policy.retrain_policy import RetrainPolicy
from trainer.registry.errors import NoSuchVersion
from trainer.registry.manifest import Manifest
from trainer.registry.mlflow_registry import MlflowRegistry
from trainer.registry.registry import Registry, registry_of
from trainer.service.publication import publish_version
from trainer.settings import Mode, Settings

WORK_FOLDER: Final = "work"


class JobWorkspace:
    """Working data of one job; after a restart they are rebuilt from the job's ranges."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reading: RangeReader | None = None
        self.dataset: Dataset | None = None
        self.tried: TriedWindows | None = None
        self.fitted: FittedModel | None = None

    @property
    def caught_up(self) -> bool:
        """Whether the job's reader has read all known records."""
        return self.reading is not None and self.reading.at_end

    def stop_reading(self) -> None:
        """Close the reader and drop what it read."""
        if self.reading is not None:
            self.reading.close()
        self.reading = None

    def clear(self) -> None:
        """Delete the working data of a job that is done."""
        self.stop_reading()
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.folder)


class TrainerContext(NamedTuple):
    """The settings of a trainer, validated and ready to use."""

    kafka: KafkaSettings
    topics: Topics
    prefix: str
    data_dir: Path
    shards: int
    factories: dict[str, str]
    registry: Registry
    policy: RetrainPolicy
    gate: Gate
    swap: SwapPolicy
    limits: FitLimits
    web: WebSettings
    mode: Mode
    modes: dict[str, Mode]
    published: MlflowRegistry | None = None

    def mode_of(self, model: str) -> Mode:
        """Return who promotes versions of a model."""
        return self.modes.get(model, self.mode)

    def manifest(self, model: str, version: str) -> Manifest | None:
        """Return the manifest of a version; ``None`` if it is not stored."""
        try:
            return self.registry.manifest(model, version)
        except NoSuchVersion:
            return None

    def profile(self, model: str, version: str) -> ReferenceProfile | None:
        """Return the reference profile of a version; ``None`` if it is not stored."""
        manifest = self.manifest(model, version)
        return None if manifest is None else manifest.reference()

    def features_of(self, model: str, version: str) -> Mapping[str, FeatureReference]:
        """Return the references of a version's features; empty if it is not stored."""
        profile = self.profile(model, version)
        return {} if profile is None else profile.features

    def publish(self, manifests: Iterable[Manifest]) -> None:
        """Publish versions to MLflow, if it is set, before other processes are to load them.

        Raises:
            MlflowFailed: MLflow does not answer, or rejects a request; repeat the step.
            RegistryError: a version cannot be published.
        """
        if self.published is not None:
            for manifest in manifests:
                publish_version(manifest, self.registry, self.published)

    def workspace(self, job_id: str) -> JobWorkspace:
        """Return an empty workspace."""
        return JobWorkspace(self.data_dir / WORK_FOLDER / job_id)


class StepInputs(NamedTuple):
    """Data from the database that a step needs, because its thread has no access to it."""

    excluded_ranges: list[ExcludedRange]
    used_versions: list[str]
    excluded_sources: list[ExcludedSource] = []  # noqa: RUF012 - never changed


def context_from_settings(settings: Settings) -> TrainerContext:
    """Build the context from the settings.

    Raises:
        ValueError: a setting is invalid, or needs an extra that is not installed.
    """
    trainer = settings.trainer
    return TrainerContext(
        kafka=settings.kafka,
        topics=settings.topics.names(),
        prefix=settings.topics.prefix,
        data_dir=trainer.data_dir,
        shards=trainer.shards,
        factories=dict(trainer.factories),
        registry=registry_of(trainer.data_dir),
        policy=trainer.retrain_policy(),
        gate=trainer.gate_spec(),
        swap=trainer.swap_policy(),
        limits=trainer.fit_limits(),
        web=trainer.web,
        mode=trainer.mode,
        modes=dict(trainer.modes),
        published=_mlflow_of(trainer.registry.mlflow_uri),
    )


def _mlflow_of(uri: str | None) -> MlflowRegistry | None:
    try:
        return None if uri is None else MlflowRegistry(uri)
    except ModuleNotFoundError as error:
        raise InvalidSetting(f"[trainer.registry] mlflow_uri: {error}") from error


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
