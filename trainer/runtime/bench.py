"""What the steps of a job work with, and what lies on the desk of one job."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Final, NamedTuple

from producer.routing import Topics
from trainer.dataset import Dataset, Reading
from trainer.decision import RetrainSpec, Span
from trainer.evaluation.gate import Gate
from trainer.fit.outcome import FitLimits, Fitted
from trainer.registry.errors import NoSuchVersion
from trainer.registry.manifest import Manifest
from trainer.registry.registry import Registry
from trainer.settings import KafkaSettings, Settings, WebSettings

WORK_FOLDER: Final = "work"
REGISTRY_FOLDER: Final = "registry"


class Desk:
    """Working data of one job: lost with the process, and made again from the job's ranges."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reading: Reading | None = None
        self.dataset: Dataset | None = None
        self.fitted: Fitted | None = None

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


class Bench(NamedTuple):
    """The settings of a trainer, ready to use; the same for all jobs."""

    kafka: KafkaSettings
    topics: Topics
    prefix: str
    home: Path
    shards: int
    factories: dict[str, str]
    registry: Registry
    spec: RetrainSpec
    gate: Gate
    limits: FitLimits
    web: WebSettings

    def manifest(self, model: str, version: str) -> Manifest | None:
        """What the registry knows of a version, if it does."""
        try:
            return self.registry.manifest(model, version)
        except NoSuchVersion:
            return None

    def desk(self, job_id: str) -> Desk:
        """An empty desk."""
        return Desk(self.home / WORK_FOLDER / job_id)


class Facts(NamedTuple):
    """What a step has to know from the database."""

    spans: list[Span]
    taken: list[str]


def bench_of(settings: Settings) -> Bench:
    """The bench that the settings describe.

    Raises:
        ValueError: a setting does not fit.
    """
    trainer = settings.trainer
    return Bench(
        kafka=settings.kafka,
        topics=settings.topics.names(),
        prefix=settings.topics.prefix,
        home=trainer.home,
        shards=trainer.shards,
        factories=dict(trainer.factories),
        registry=Registry(trainer.home / REGISTRY_FOLDER),
        spec=trainer.retrain_spec(),
        gate=trainer.gate_spec(),
        limits=trainer.fit_limits(),
        web=trainer.web,
    )
