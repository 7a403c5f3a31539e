"""What the dashboard reads from Kafka and Redis at one moment: the input of all pages and the API.

All of this is plain data: the functions that compute a page from it do no input or output.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec

from driftline.doctor.health_checks import HealthCheckResult
from driftline.monitor_state.coverage_report import ModelCoverage
from stream_monitor.contracts import DriftAlert, HealthEvent
from stream_monitor.worker_heartbeat import WorkerHeartbeat
from trainer.contracts import ModelVersion, RetrainEvent

ServerName: TypeAlias = Literal["Kafka", "Redis"]


class ServerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a server answers, since when (ms), and the error where it does not."""

    name: ServerName
    reachable: bool
    since_ms: int
    error: str = ""


class PartitionPosition(msgspec.Struct, frozen=True, kw_only=True):
    """One partition of the event topic.

    ``end`` is ``None`` while Kafka is away, ``next`` before the first commit.  ``clock_ms`` is the
    append time of the last processed record.
    """

    partition: int
    next: int | None
    end: int | None
    events: int
    dead_lettered: int
    clock_ms: int
    stopped: str = ""

    @property
    def lag(self) -> int:
        """The number of records that wait to be processed."""
        return 0 if self.end is None else max(0, self.end - (self.next or 0))


class TrainerView(msgspec.Struct, frozen=True, kw_only=True):
    """The trainer's last heartbeat: its time, unread alerts, and unfinished jobs."""

    time_ms: int
    lag: int
    jobs: int
    models: list[str] = []


class DoctorReport(msgspec.Struct, frozen=True, kw_only=True):
    """The results of ``driftline doctor``, and when they were found; 0: never."""

    time_ms: int = 0
    results: list[HealthCheckResult] = []


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the installation at ``now_ms``.

    Where a server is away, the parts that were read from it are those of the last time it answered.
    ``events_per_s`` is ``None`` until two observations exist.  ``coverage_ms`` is the end of the
    hour that ``coverage`` describes.  ``models`` are the names that the monitor knows;
    ``champions`` are the versions that the trainer put into service.  ``skipped`` describes records
    that could not be read.
    """

    now_ms: int
    servers: list[ServerStatus]
    partitions: list[PartitionPosition] = []
    events_per_s: float | None = None
    workers: list[WorkerHeartbeat] = []
    trainer: TrainerView | None = None
    alerts: list[DriftAlert] = []
    health: list[HealthEvent] = []
    retrains: list[RetrainEvent] = []
    versions: list[ModelVersion] = []
    champions: dict[str, str] = {}
    coverage_ms: int = 0
    coverage: list[ModelCoverage] = []
    models: list[str] = []
    served: dict[str, str] = {}
    skipped: list[str] = []
    doctor: DoctorReport = DoctorReport()

    def away(self) -> list[ServerStatus]:
        """The servers that do not answer."""
        return [server for server in self.servers if not server.reachable]

    def champion_of(self, model: str) -> str | None:
        """The version in service: the trainer's champion, else the version with the last events.

        Before a window has closed, the one with the most events of the last hour.
        """
        return self.champions.get(model) or self.served.get(model) or self._busiest(model)

    def _busiest(self, model: str) -> str | None:
        counts: Counter[str] = Counter()
        for of_model in self.coverage:
            if of_model.model == model:
                for row in of_model.rows:
                    if row.unit == "event" and row.version and row.last_hour:
                        counts[row.version] += row.last_hour
        return counts.most_common(1)[0][0] if counts else None


def deploys_of(versions: list[ModelVersion]) -> dict[str, dict[str, int]]:
    """Return the time (ms) at which each promoted version was announced, by model."""
    found: dict[str, dict[str, int]] = {}
    for version in versions:
        if version.promoted:
            found.setdefault(version.model, {})[version.version] = version.time_ms
    return found


def open_health(events: list[HealthEvent]) -> list[HealthEvent]:
    """The process problems that are not resolved, oldest first."""
    latest: dict[str, HealthEvent] = {}
    resolved: set[str] = set()
    for event in events:
        latest[event.problem_id] = event
        if event.phase == "resolved":
            resolved.add(event.problem_id)
    found: Mapping[str, HealthEvent] = {k: v for k, v in latest.items() if k not in resolved}
    return sorted(found.values(), key=lambda event: event.since_ms)
