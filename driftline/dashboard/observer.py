"""Observes Kafka and Redis in a thread, and keeps the latest `Observation` for the pages.

It takes no part in the stream: it joins no consumer group and writes nothing.  While a server is
away the last known state stays, with the error and the time, and each round tries again.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from confluent_kafka import KafkaException
from redis import Redis, RedisError

from driftline.dashboard.observation import (
    DoctorReport,
    Observation,
    PartitionPosition,
    ServerName,
    ServerStatus,
)
from driftline.dashboard.reference_store import ReferenceStore
from driftline.dashboard.topic_tails import EventTopicEnds, TopicTails
from driftline.dashboard.window_store import VersionWindows, WindowStore
from driftline.monitor_state.coverage_report import read_coverage
from driftline.monitor_state.partition_state import partitions_in, read_partition, read_workers
from driftline.topics.topic_reader import MissingTopicError
from stream_monitor.state_parts import CorruptState

if TYPE_CHECKING:
    from driftline.doctor.health_checks import HealthCheckResult
    from stream_monitor.reference.profile import ReferenceProfile
    from stream_monitor.settings import Settings

ACTIVE_S: Final = 2.0
"""The time between two rounds while a page is open."""
IDLE_S: Final = 10.0
"""The time between two rounds while no page is open."""
_VIEWER_S: Final = 30.0
_DOCTOR_S: Final = 60.0
_SCAN_S: Final = 6.0
_RATE_MS: Final = 10_000
_REDIS_TIMEOUT_S: Final = 3.0
_LABELS_S: Final = 8.0
_DETAILS: Final = 80


class ModelDetail(NamedTuple):
    """The references of a model's versions, and its closed windows."""

    profiles: dict[str, ReferenceProfile]
    windows: Sequence[VersionWindows]

    def reference_of(self, version: str | None) -> ReferenceProfile | None:
        """The reference of a version."""
        return None if version is None else self.profiles.get(version)

    def shown_version(self, champion: str | None) -> str | None:
        """Return the champion or, if it has no closed window, the version with the newest one."""
        served = [each for each in self.windows if each.windows and not each.shadow]
        if champion is not None and any(each.version == champion for each in served):
            return champion
        newest = max(served, key=lambda each: each.windows[-1].start_ms, default=None)
        return champion if newest is None else newest.version

    def windows_of(self, version: str | None) -> VersionWindows:
        """The windows of a version in service."""
        for each in self.windows:
            if each.version == version and not each.shadow:
                return each
        return VersionWindows(version or "", shadow=False, windows=[], performance=[])


EMPTY_DETAIL: Final = ModelDetail({}, [])


class _KnownDetail(NamedTuple):
    """What was read about a model, when, when its labels were, and with how many models."""

    read_s: float
    labels_s: float
    n_models: int
    detail: ModelDetail


class Observer:
    """Keeps `current` up to date until `close`; ``examine`` returns the findings of doctor."""

    def __init__(
        self, settings: Settings, examine: Callable[[], list[HealthCheckResult]] | None = None
    ) -> None:
        topics = settings.topics.names()
        self._settings, self._topic, self._examine = settings, topics.events, examine
        client = settings.kafka.client()
        self._tails = TopicTails(client, topics)
        self._ends = EventTopicEnds(client, topics, settings.topics.prefix)
        self._redis: Redis = Redis.from_url(
            settings.redis.url,
            socket_timeout=_REDIS_TIMEOUT_S,
            socket_connect_timeout=_REDIS_TIMEOUT_S,
        )
        self._windows = WindowStore(settings.topics.prefix)
        self._references = ReferenceStore(self._topic)
        now_ms = _now_ms()
        self.current = Observation(
            now_ms=now_ms,
            servers=[
                ServerStatus(name=name, reachable=False, since_ms=now_ms, error="not asked yet")
                for name in ("Kafka", "Redis")
            ],
        )
        self.version = 0
        self._counts: deque[tuple[int, int]] = deque()
        self._scanned_s = self._doctored_s = self._viewed_s = float("-inf")
        self._doctor = DoctorReport()
        self._details: dict[str, _KnownDetail] = {}
        self._store_lock = threading.Lock()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._threads = [
            threading.Thread(target=self._observe_rounds, name="observer", daemon=True),
            threading.Thread(target=self._doctor_rounds, name="doctor", daemon=True),
        ]

    def start(self) -> None:
        """Start the observing thread."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop, and close the connections."""
        self._stop.set()
        self._wake.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(10)
        self._tails.close()
        self._ends.close()
        self._redis.close()

    def viewed(self) -> None:
        """Record a page view, after which observations are more frequent for a while."""
        sleeping = time.monotonic() - self._viewed_s > ACTIVE_S
        self._viewed_s = time.monotonic()
        if sleeping:
            self._wake.set()

    def wait_until_ready(self, timeout_s: float) -> bool:
        """Wait until the first round is over."""
        return self._ready.wait(timeout_s)

    def detail(self, model: str, n_models: int = 1) -> ModelDetail:
        """Return references and windows of a model, or the last ones read if Redis is unreachable.

        ``n_models`` is the number of models that are shown together.
        """
        with self._store_lock:
            known = self._details.get(model)
            now_s = time.monotonic()
            if known is not None and now_s - known.read_s < ACTIVE_S and n_models >= known.n_models:
                return known.detail
            try:
                windows = self._windows.load(self._redis, model, n_models)
                labels_s = float("-inf") if known is None else known.labels_s
                if now_s - labels_s > _LABELS_S:
                    windows = self._windows.load_performance(self._redis, model)
                    labels_s = now_s
                detail = ModelDetail(self._references.load(self._redis, model), windows)
            except (RedisError, OSError, CorruptState, ValueError):
                return EMPTY_DETAIL if known is None else known.detail
            self._details[model] = _KnownDetail(now_s, labels_s, n_models, detail)
            self._forget_oldest()
            return detail

    def _forget_oldest(self) -> None:
        """Drop the details of models that no page showed for long."""
        if len(self._details) > _DETAILS:
            by_age = sorted(self._details, key=lambda model: self._details[model].read_s)
            for model in by_age[: len(by_age) - _DETAILS]:
                del self._details[model]
            self._windows.forget(self._details)

    def partitions_of(self, model: str) -> list[int]:
        """The partitions that watch a model."""
        return self._references.partitions_of(model)

    def warming_up(self, model: str) -> list[str]:
        """The versions of a model that have no reference yet."""
        return self._references.warming_up(model)

    def _observe_rounds(self) -> None:
        while not self._stop.is_set():
            self._wake.clear()
            self.observe()
            looked_at = time.monotonic() - self._viewed_s < _VIEWER_S
            self._wake.wait(ACTIVE_S if looked_at else IDLE_S)

    def _doctor_rounds(self) -> None:
        while self._examine is not None and not self._stop.wait(1.0):
            now_s = time.monotonic()
            if now_s - self._viewed_s > _VIEWER_S or now_s - self._doctored_s < _DOCTOR_S:
                continue
            try:
                self._doctor = DoctorReport(time_ms=_now_ms(), results=self._examine())
            except (KafkaException, RedisError, OSError, LookupError, ValueError) as error:
                self._doctor = msgspec.structs.replace(self._doctor, time_ms=_now_ms())
                del error  # the servers' own state shows it
            self._doctored_s = time.monotonic()

    def observe(self) -> None:
        """Observe once: read Kafka, then Redis."""
        seen = msgspec.structs.replace(self.current, now_ms=_now_ms(), doctor=self._doctor)
        seen, kafka_error = self._from_kafka(seen)
        seen, redis_error = self._from_redis(seen)
        servers = [
            self._status("Kafka", kafka_error, seen.now_ms),
            self._status("Redis", redis_error, seen.now_ms),
        ]
        seen = msgspec.structs.replace(seen, servers=servers)
        still = msgspec.structs.replace(self.current, now_ms=seen.now_ms)
        if seen != still:
            self.version += 1
        self.current = seen
        self._ready.set()

    def _status(self, name: ServerName, error: str, now_ms: int) -> ServerStatus:
        before = next(server for server in self.current.servers if server.name == name)
        reachable = not error
        changed = before.reachable != reachable or not self.version
        since_ms = now_ms if changed else before.since_ms
        return ServerStatus(name=name, reachable=reachable, since_ms=since_ms, error=error)

    def _from_kafka(self, seen: Observation) -> tuple[Observation, str]:
        try:
            ends = self._ends.ends()
            self._tails.read()
            trainer = self._ends.trainer()
        except MissingTopicError as error:
            return seen, str(error)
        except (KafkaException, OSError) as error:
            cause = error.args[0] if error.args else error
            return seen, cause.str() if hasattr(cause, "str") else str(cause)
        known = {row.partition: row for row in seen.partitions}
        empty = PartitionPosition(
            partition=0, next=None, end=None, events=0, dead_lettered=0, clock_ms=0
        )
        partitions = [
            msgspec.structs.replace(known.get(p, empty), partition=p, end=end)
            for p, end in ends.items()
        ]
        tails = self._tails
        return msgspec.structs.replace(
            seen,
            partitions=partitions,
            trainer=trainer,
            alerts=list(tails.alerts.values()),
            health=list(tails.health.values()),
            retrains=list(tails.retrains.values()),
            versions=list(tails.versions.values()),
            champions=dict(tails.champions),
            skipped=tails.skipped(),
        ), ""

    def _from_redis(self, seen: Observation) -> tuple[Observation, str]:
        redis, topic = self._redis, self._topic
        try:
            numbers = [row.partition for row in seen.partitions] or partitions_in(redis, topic)
            states = [read_partition(redis, topic, partition) for partition in numbers]
            workers = read_workers(redis, topic, seen.now_ms)
            report = read_coverage(redis, topic, numbers)
            if time.monotonic() - self._scanned_s > _SCAN_S:
                with self._store_lock:
                    self._windows.scan(redis)
                    self._references.scan(redis, numbers)
                self._scanned_s = time.monotonic()
        except CorruptState as error:
            return seen, f"the monitor's state cannot be read: {error}"
        except (RedisError, OSError, ValueError) as error:
            return seen, str(error)
        ends = {row.partition: row.end for row in seen.partitions}
        partitions = [
            PartitionPosition(
                partition=state.partition,
                next=state.next,
                end=ends.get(state.partition),
                events=state.counters.valid + state.counters.late + state.counters.not_watched,
                dead_lettered=state.counters.dead_lettered,
                clock_ms=state.counters.append_clock_ms,
                stopped=state.stopped,
            )
            for state in states
        ]
        return msgspec.structs.replace(
            seen,
            partitions=partitions,
            events_per_s=self._rate(seen.now_ms, sum(row.events for row in partitions)),
            workers=workers,
            coverage_ms=report.as_of_ms,
            coverage=report.models,
            models=sorted({*self._references.models, *self._windows.models}),
            served=self._windows.served(),
        ), ""

    def _rate(self, now_ms: int, events: int) -> float | None:
        """Events a second over the last ten seconds."""
        counts = self._counts
        counts.append((now_ms, events))
        while len(counts) > 2 and now_ms - counts[1][0] >= _RATE_MS:
            counts.popleft()
        (first_ms, before), (last_ms, after) = counts[0], counts[-1]
        if last_ms <= first_ms or after < before:
            return None
        return (after - before) * 1000 / (last_ms - first_ms)


def _now_ms() -> int:
    return round(time.time() * 1000)
