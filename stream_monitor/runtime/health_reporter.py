"""Publishes problems of processes as `HealthEvent`, outside of the fold.

Every worker looks every 15 seconds at what the store holds of all partitions and at the trainer's
last note, and exports what it finds as metrics.  The one that owns the lowest partition that lives
also publishes what began and what is over on the alerts topic.  What was published lies in the
store, so that the next one knows it; ids are derived, so that a repeat is recognised.
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
from stream_monitor.runtime.open_transactions import partition_ends
from stream_monitor.runtime.outbound_records import SOURCE
from stream_monitor.runtime.partitions import OwnedPartitions
from stream_monitor.runtime.publisher import Publisher
from stream_monitor.state.redis_store import partition_key
from stream_monitor.state.store import STOPPED, StateStore, StoreUnavailable
from stream_monitor.trainer_heartbeat import last_heartbeat

log = structlog.get_logger(__name__)

CHECK_INTERVAL_S: Final = 15.0
ASK_S: Final = 5.0


def health_key(topic: str) -> str:
    """Where the problems that were published lie: a hash by their ids.

    >>> health_key("driftline.events.v1")
    'driftline:{driftline.events.v1}:health'
    """
    return f"driftline:{{{topic}}}:health"


class HealthReporter:
    """One for a worker.  ``alerts`` is the topic that is written to."""

    def __init__(
        self,
        partitions: OwnedPartitions,
        publisher: Publisher,
        store: StateStore,
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
        """Ask, and do what follows.  What cannot be done now is done the next time.

        Nothing that is found here ends a worker: it says something of others.
        """
        try:
            signs = await self._signs()
            trainer_ms = await asyncio.to_thread(self._trainer_ms)
            now_s = time.monotonic()
            self._health.observe(signs, trainer_ms, now_s)
            ours = [owned.partition for owned in self._partitions]
            stale = self._health.stale(now_s)
            held = await asyncio.to_thread(self._held, stale) if stale else []
            found = self._health.problems(now_s, _now_ms(), ours=ours, held=held)
            self._export(found)
            if self._health.is_reporter(ours, now_s):
                await self._publish(found)
        except (KafkaException, StoreUnavailable, TimeoutError) as error:
            log.info("cannot look at the health of the others now", error=str(error))
        except Exception as error:  # noqa: BLE001 - whatever others wrote where we look
            log.warning("cannot look at the health of the others", error=repr(error))

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
                log.warning("cannot see whether a trainer is alive", why=error.args[0].str())
                return None
            raise
        return None if seen is None else seen.heartbeat.time_ms

    def _held(self, partitions: Collection[int]) -> list[int]:
        """Those of the partitions whose records an open transaction keeps from every owner."""
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
            now_ms = _now_ms()
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


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
