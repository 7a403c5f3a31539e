"""Publishes problems of workers and of the trainer as `HealthEvent` on the alerts topic.

Every 15 seconds each worker reads the owners of all partitions from the store and the last
heartbeat of the trainer from Kafka, and exports the problems as metrics.  The owner of the lowest
partition that has a live owner also publishes which problems started and which were resolved.
Published problems are kept in the store, so that the next reporter knows them; their ids are
derived, so that a repeat is recognised.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping
from typing import Any, Final

import msgspec
import structlog
from confluent_kafka import KafkaException

from producer.cloudevents import cloudevent_headers
from producer.permission import is_denied
from stream_monitor.contracts import HEALTH_CE_TYPE
from stream_monitor.health import Health, HealthProblem, OwnerStatus, changes
from stream_monitor.metrics import Metrics
from stream_monitor.runtime.clock import wall_clock_ms
from stream_monitor.runtime.open_transactions import partition_ends
from stream_monitor.runtime.outbound_records import SOURCE
from stream_monitor.runtime.partitions import OwnedPartitions
from stream_monitor.runtime.publisher import Publisher
from stream_monitor.state.redis_store import RedisStateStore, partition_key
from stream_monitor.state.store import STOPPED, StoreUnavailable
from stream_monitor.trainer_heartbeat import last_heartbeat

log = structlog.get_logger(__name__)

CHECK_INTERVAL_S: Final = 15.0
ASK_S: Final = 5.0


def health_key(topic: str) -> str:
    """The key of the hash with the published problems, by their ids.

    >>> health_key("driftline.events.v1")
    'driftline:{driftline.events.v1}:health'
    """
    return f"driftline:{{{topic}}}:health"


class HealthReporter:
    """Checks the health of all workers and of the trainer; each worker has one reporter.

    It publishes to the topic ``alerts``.
    """

    def __init__(
        self,
        partitions: OwnedPartitions,
        publisher: Publisher,
        store: RedisStateStore,
        metrics: Metrics,
        *,
        topic: str,
        alerts: str,
        prefix: str,
        client: Mapping[str, Any],
    ) -> None:
        self._partitions, self._publisher, self._store = partitions, publisher, store
        self._metrics = metrics
        self._topic, self._alerts, self._prefix, self._client = topic, alerts, prefix, client
        self._health = Health(topic)
        self._exported: list[HealthProblem] = []

    async def check(self) -> None:
        """Find problems, export them as metrics, and publish them if this worker is the reporter.

        An error ends the check, not the worker; the next check repeats it.
        """
        try:
            signs = await self._signs()
            trainer_ms = await asyncio.to_thread(self._trainer_ms)
            now_s = time.monotonic()
            self._health.observe(signs, trainer_ms, now_s)
            ours = [owned.partition for owned in self._partitions]
            stale = self._health.stale(now_s)
            held = await asyncio.to_thread(self._held, stale) if stale else []
            found = self._health.problems(now_s, wall_clock_ms(), ours=ours, held=held)
            self._export(found)
            if self._health.is_reporter(ours, now_s):
                await self._publish(found)
        except (KafkaException, StoreUnavailable, TimeoutError) as error:
            log.info("the health check of other processes failed; it is repeated", error=str(error))
        except Exception as error:  # noqa: BLE001 - other programs may write any data there
            log.warning("cannot check the health of other processes", error=repr(error))

    async def _signs(self) -> dict[int, OwnerStatus]:
        n_partitions = await asyncio.to_thread(self._publisher.partitions, self._topic, ASK_S)
        signs = {}
        for partition in range(n_partitions):
            key = partition_key(self._topic, partition)
            fencing_token, written, stopped = await self._store.read(
                key, ["_epoch", "_ts", STOPPED]
            )
            signs[partition] = OwnerStatus(
                fencing_token=(fencing_token or b"").decode("utf-8", "replace"),
                written_ms=int(float(written or 0)),
                stopped=(stopped or b"").decode("utf-8", "replace"),
            )
        return signs

    def _trainer_ms(self) -> int | None:
        n_partitions = self._publisher.partitions(self._alerts, ASK_S)
        try:
            seen = last_heartbeat(self._client, self._prefix, self._alerts, n_partitions)
        except KafkaException as error:
            if is_denied(error.args[0]):
                log.warning("cannot check whether a trainer is alive", why=error.args[0].str())
                return None
            raise
        return None if seen is None else seen.heartbeat.time_ms

    def _held(self, partitions: Collection[int]) -> list[int]:
        """Those of ``partitions`` whose records are blocked by an open transaction."""
        ends = partition_ends(self._client, self._topic, partitions)
        return [partition for partition, both in ends.items() if both.n_blocked]

    def _export(self, found: list[HealthProblem]) -> None:
        there = {problem.problem_id for problem in found}
        for problem in self._exported:
            if problem.problem_id not in there:
                self._metrics.problems.labels(problem.kind, problem.subject).set(0)
        for problem in found:
            self._metrics.problems.labels(problem.kind, problem.subject).set(1)
        self._exported = found

    async def _publish(self, found: list[HealthProblem]) -> None:
        key = health_key(self._topic)
        before = []
        for field, blob in (await self._store.load(key)).items():
            try:
                before.append(msgspec.json.decode(blob, type=HealthProblem))
            except msgspec.MsgspecError:
                await self._store.discard(key, [field])
        for phase, problem in changes(before, found):
            now_ms = wall_clock_ms()
            event = problem.event(phase, now_ms)
            written = await self._publisher.publish(
                self._alerts,
                value=msgspec.json.encode(event),
                key=problem.subject.encode(),
                headers=cloudevent_headers(
                    HEALTH_CE_TYPE, event.health_id, SOURCE, time_ms=now_ms, subject=problem.subject
                ),
            )
            await written
            if phase == "started":
                blob = msgspec.json.encode(problem)
                await self._store.write_fields(key, {problem.problem_id: blob})
                log.warning(problem.explanation, kind=problem.kind, fix=problem.fix)
            else:
                await self._store.discard(key, [problem.problem_id])
                log.info("resolved", kind=problem.kind, subject=problem.subject)
