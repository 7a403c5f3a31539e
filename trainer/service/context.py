"""What the steps of a job work with, and what lies on the desk of one job."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Final, NamedTuple

from producer.routing import Topics
from stream_monitor.shared_settings import KafkaSettings, WebSettings
from trainer.dataset.frame import Dataset
from trainer.dataset.range_reader import RangeReader
from trainer.evaluation.gate import Gate
from trainer.fitting.results import FitLimits, FittedModel
from trainer.policy.excluded_ranges import ExcludedRange
from trainer.policy.retrain_policy import RetrainPolicy
from trainer.registry.errors import NoSuchVersion
from trainer.registry.manifest import Manifest
from trainer.registry.registry import Registry
from trainer.settings import Settings

WORK_FOLDER: Final = "work"
REGISTRY_FOLDER: Final = "registry"


class JobWorkspace:
    """Working data of one job: lost with the process, and made again from the job's ranges."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reading: RangeReader | None = None
        self.dataset: Dataset | None = None
        self.fitted: FittedModel | None = None

    @property
    def caught_up(self) -> bool:
        """Whether all is read that the log is known to hold."""
        return self.reading is not None and self.reading.at_end

    def stop_reading(self) -> None:
        """Let the connection go, and what was read."""
        if self.reading is not None:
            self.reading.close()
        self.reading = None

    def clear(self) -> None:
        """The job is done."""
        self.stop_reading()
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.folder)


class TrainerContext(NamedTuple):
    """The settings of a trainer, ready to use; the same for all jobs."""

    kafka: KafkaSettings
    topics: Topics
    prefix: str
    data_dir: Path
    shards: int
    factories: dict[str, str]
    registry: Registry
    policy: RetrainPolicy
    gate: Gate
    limits: FitLimits
    web: WebSettings

    def manifest(self, model: str, version: str) -> Manifest | None:
        """What the registry knows of a version, if it does."""
        try:
            return self.registry.manifest(model, version)
        except NoSuchVersion:
            return None

    def workspace(self, job_id: str) -> JobWorkspace:
        """An empty desk."""
        return JobWorkspace(self.data_dir / WORK_FOLDER / job_id)


class StepInputs(NamedTuple):
    """What a step has to know from the database."""

    excluded_ranges: list[ExcludedRange]
    used_versions: list[str]


def context_from_settings(settings: Settings) -> TrainerContext:
    """The bench that the settings describe.

    Raises:
        ValueError: a setting does not fit.
    """
    trainer = settings.trainer
    return TrainerContext(
        kafka=settings.kafka,
        topics=settings.topics.names(),
        prefix=settings.topics.prefix,
        data_dir=trainer.data_dir,
        shards=trainer.shards,
        factories=dict(trainer.factories),
        registry=Registry(trainer.data_dir / REGISTRY_FOLDER),
        policy=trainer.retrain_policy(),
        gate=trainer.gate_spec(),
        limits=trainer.fit_limits(),
        web=trainer.web,
    )
