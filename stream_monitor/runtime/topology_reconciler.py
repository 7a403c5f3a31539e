"""Follows added partitions and shards: copies references that move, and records the topology.

A worker asks Kafka every few seconds for the number of partitions of the event topic, and derives
the number of shards of a model from the keys of its records.  When either differs from the topology
that a partition records, its owner first copies its references to the partitions that now need
them, and then appends a `Topology` (`ARCHITECTURE.md`, "When partitions or shards are added").
Records may be written twice, by this worker or another one: the core applies each only once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from typing import Any, Final

import msgspec
import structlog
from confluent_kafka import KafkaException

from producer.cloudevents import event_headers
from producer.codec import encode
from producer.events import Event, Topology
from producer.routing import shard_of
from stream_monitor.core.reference_transfer import (
    ReferenceTransfer,
    is_needed,
    next_topology,
    transfer_record,
)
from stream_monitor.ingest.records import RecordBatch
from stream_monitor.runtime.clock import wall_clock_ms
from stream_monitor.runtime.partitions import OwnedPartition, OwnedPartitions
from stream_monitor.runtime.publisher import Publisher
from stream_monitor.state.partition_state import (
    profile_field,
    profile_in,
    topology_field,
    topology_in,
)
from stream_monitor.state.redis_store import RedisStateStore, partition_key
from stream_monitor.state.store import StoreUnavailable
from stream_monitor.state_parts import CorruptState

log = structlog.get_logger(__name__)

CHECK_INTERVAL_S: Final = 2.0
ASK_S: Final = 5.0
AGAIN_S: Final = 60.0
"""After so long a topology is appended again to a partition that does not have it yet."""
SHRUNK_S: Final = 30.0
"""A broker with old metadata may report fewer partitions for so long."""
MAX_SHARDED: Final = 256
"""Most models whose shards are followed; it bounds memory, since a producer can invent keys."""
_SOURCE: Final = "/driftline/monitor"


class TopologyReconciler:
    """Keeps the recorded topology up to date; each worker has one.

    ``assigned`` returns the partitions that the group has assigned to the worker.
    """

    def __init__(
        self,
        partitions: OwnedPartitions,
        publisher: Publisher,
        store: RedisStateStore,
        *,
        topic: str,
        assigned: Callable[[], Collection[int]],
    ) -> None:
        self._partitions = partitions
        self._publisher = publisher
        self._store = store
        self._topic = topic
        self._assigned = assigned
        self._shards: dict[str, int] = {}
        self._initial_partitions: int | None = None
        self._announced_id = ""
        self._fewer_since_s: float | None = None
        self._written: dict[int, tuple[int, float]] = {}
        self._moved: set[tuple[Any, ...]] = set()
        self._had_owner: set[int] = set()
        self.unowned: list[int] = []
        """Partitions of other workers that no worker has ever acquired."""

    def observe_keys(self, batch: RecordBatch) -> None:
        """Derive the number of shards from the keys of a batch."""
        for key in batch.distinct_keys():
            named = None if key is None or b"/" not in key else shard_of(key)
            if named is None:
                continue
            model, shard = named
            if model in self._shards or len(self._shards) < MAX_SHARDED:
                self._shards[model] = max(shard + 1, self._shards.get(model, 1))

    async def reconcile(self) -> None:
        """Compare the topology with Kafka; copy and record what changed."""
        try:
            n_partitions = await asyncio.to_thread(self._publisher.partitions, self._topic, ASK_S)
            await self._find_unowned(n_partitions)
            wanted = await self._wanted(n_partitions)
            for owned in self._partitions:
                if wanted is not None and owned.partition < wanted.partitions:
                    await self._keep(owned, wanted)
        except (KafkaException, StoreUnavailable, CorruptState) as error:
            log.info("the topology check failed; it is repeated", error=str(error))

    async def _find_unowned(self, n_partitions: int) -> None:
        ours = self._assigned()
        others = [p for p in range(n_partitions) if p not in ours and p not in self._had_owner]
        for partition in others:
            (fencing_token,) = await self._store.read(
                partition_key(self._topic, partition), ["_epoch"]
            )
            if fencing_token is not None:
                self._had_owner.add(partition)
        self.unowned = [p for p in others if p not in self._had_owner]

    async def _wanted(self, n_partitions: int) -> Topology | None:
        """The topology that each partition should record; ``None`` while it is uncertain."""
        ours = [owned.partition_state.topology() for owned in self._partitions]
        if not ours:
            return None
        known = max((t for t in ours if t is not None), key=_generation, default=None)
        now_ms = wall_clock_ms()
        wanted = next_topology(known, n_partitions, self._shards, now_ms)
        if wanted is not known:  # other partitions may know more
            known = max(
                (t for t in (known, *await self._stored(n_partitions)) if t is not None),
                key=_generation,
                default=None,
            )
            wanted = next_topology(known, n_partitions, self._shards, now_ms)
        if known is not None and n_partitions < known.partitions:
            self._fewer_since_s = self._fewer_since_s or time.monotonic()
            if time.monotonic() - self._fewer_since_s < SHRUNK_S:
                return None
        else:
            self._fewer_since_s = None
        if known is None and self._initial_partitions not in (None, n_partitions):
            wanted = msgspec.structs.replace(wanted, before=(self._initial_partitions, {}))
        self._initial_partitions = self._initial_partitions or n_partitions
        if wanted is not known and wanted.id != self._announced_id:
            self._announced_id = wanted.id
            report = log.info if known is None else log.warning
            report(
                "the placement of models has changed",
                topic=self._topic,
                partitions=n_partitions,
                shards=wanted.shards,
                before=wanted.before,
            )
            if known is not None and wanted.shards != known.shards:
                await self._append_to_others(wanted)
        return wanted

    async def _stored(self, n_partitions: int) -> list[Topology | None]:
        """The committed topology of each partition."""
        found = []
        for partition in range(n_partitions):
            key = partition_key(self._topic, partition)
            (blob,) = await self._store.read(key, [topology_field()])
            found.append(None if not blob else topology_in(blob))
        return found

    async def _append_to_others(self, topology: Topology) -> None:
        """Append to partitions of other owners: they do not see the keys of another partition."""
        ours = {owned.partition for owned in self._partitions}
        for partition in range(topology.partitions):
            if partition not in ours:
                await self._append(partition, topology)

    async def _keep(self, owned: OwnedPartition, wanted: Topology) -> None:
        """Copy the references that other partitions need, then record the topology."""
        for move in owned.partition_state.reference_transfers(wanted):
            for partition in move.partitions:
                await self._copy(owned, move, partition, wanted)
        known = owned.partition_state.topology()
        if known is not None and known.generation >= wanted.generation:
            return
        generation, at_s = self._written.get(owned.partition, (0, 0.0))
        if generation < wanted.generation or time.monotonic() - at_s > AGAIN_S:
            self._written[owned.partition] = wanted.generation, time.monotonic()
            await self._append(owned.partition, wanted)

    async def _copy(
        self, owned: OwnedPartition, move: ReferenceTransfer, partition: int, wanted: Topology
    ) -> None:
        done = (owned.partition, *move.name, move.profile.origin, partition, wanted.generation)
        if done in self._moved:
            return
        key = partition_key(self._topic, partition)
        blob, topology = await self._store.read(key, [profile_field(*move.name), topology_field()])
        if move.late:  # the present holder of the reference copies first
            known = None if not topology else topology_in(topology)
            if known is None or known.generation < wanted.generation:
                return
        if is_needed(move, profile_in(blob).origin if blob else None, wanted):
            update = transfer_record(move, owned.partition, wanted.generation, wall_clock_ms())
            await (await self._append(partition, update))
            log.warning(
                "copied a reference to another partition",
                model=move.name[0],
                version=move.name[1],
                partition=partition,
                held_by=owned.partition,
            )
        self._moved.add(done)

    async def _append(self, partition: int, event: Event) -> asyncio.Future[None]:
        written = await self._publisher.publish(
            self._topic,
            value=encode(event),
            headers=event_headers(event, source=_SOURCE),
            partition=partition,
        )
        written.add_done_callback(lambda future: future.cancelled() or future.exception())
        return written


def _generation(topology: Topology) -> int:
    return topology.generation
