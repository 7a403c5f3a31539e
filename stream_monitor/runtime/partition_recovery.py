"""Recovers a partition: acquires it, loads its state and finds the offset to start at."""

from __future__ import annotations

import itertools
import time
from collections.abc import Collection
from typing import NamedTuple

import structlog
from confluent_kafka import KafkaException

from producer.failpoints import failpoint
from stream_monitor.runtime.clock import wall_clock_ms
from stream_monitor.runtime.outbox import sort_outbox
from stream_monitor.runtime.partitions import OwnedPartition
from stream_monitor.runtime.poison_detection import single_batch_until, single_record_until
from stream_monitor.runtime.reader_thread import ReaderThread
from stream_monitor.settings import OnStateLoss
from stream_monitor.state.chunked_commit import ChunkedFields, merge_chunks
from stream_monitor.state.partition_state import STATE, PartitionState, PartitionStateFactory
from stream_monitor.state.redis_store import partition_key
from stream_monitor.state.store import Acquired, AcquireRejected, StateStore

log = structlog.get_logger(__name__)


class RecoveredPartition(NamedTuple):
    """An acquired partition, and the outbox entries that its former owner did not publish."""

    owned: OwnedPartition
    outbox: dict[str, bytes]


class _Loaded(NamedTuple):
    partition_state: PartitionState
    outbox: dict[str, bytes]
    chunked_fields: ChunkedFields


class _RetainedState(NamedTuple):
    """The state of a partition that was given up, committed at offset ``next``."""

    next: int
    partition_state: PartitionState


class PartitionRecovery:
    """Acquires partitions of one topic for one member of the group."""

    def __init__(
        self,
        *,
        topic: str,
        member: str,
        store: StateStore,
        state_factory: PartitionStateFactory,
        reader: ReaderThread,
        on_state_loss: OnStateLoss,
    ) -> None:
        self._topic = topic
        self._member = member
        self._store = store
        self._state_factory = state_factory
        self._reader = reader
        self._on_state_loss = on_state_loss
        self._fetch_numbers = itertools.count()
        self._retained: dict[int, _RetainedState] = {}
        self._truncated: set[int] = set()

    def next_fetch_generation(self, fencing_token: str) -> str:
        """A new fetch generation: it marks the batches that are fetched after one seek."""
        return f"{fencing_token}.{next(self._fetch_numbers)}"

    def retain(self, owned: OwnedPartition) -> None:
        """Keep the state of a partition that is given up, if all of it is committed."""
        if owned.committed is not None:
            self._retained[owned.partition] = _RetainedState(owned.committed, owned.partition_state)

    def retain_only(self, partitions: Collection[int]) -> None:
        """Drop the kept state of all other partitions."""
        self._retained = {p: retained for p, retained in self._retained.items() if p in partitions}

    def mark_truncated(self, partition: int) -> None:
        """Note that the partition ends below the group's offset: it cannot resume there."""
        self._truncated.add(partition)

    async def take(self, partition: int, generation: int) -> RecoveredPartition | AcquireRejected:
        """Acquire and load one partition.

        Raises:
            StoreUnavailable: the store does not answer.
            KafkaException: the broker does not answer.
            CorruptState: the stored state cannot be decoded.
        """
        key = partition_key(self._topic, partition)
        acquired = await self._store.acquire(key, generation, self._member, wall_clock_ms())
        if isinstance(acquired, AcquireRejected):
            return acquired
        failpoint("monitor.partition.acquired")
        loaded = await self._load(key, partition, acquired)
        start = acquired.next
        if start is None:
            start = await self._start_offset(partition)
        owned = OwnedPartition(
            topic=self._topic,
            partition=partition,
            key=key,
            fencing_token=acquired.fencing_token,
            fetch_generation=self.next_fetch_generation(acquired.fencing_token),
            partition_state=loaded.partition_state,
            position=start,
            committed=acquired.next,
            last_record_s=time.monotonic(),
            single_record_until=single_record_until(acquired, start),
            single_batch_until=single_batch_until(acquired, start),
            last_attempt=acquired.last_attempt,
            chunked_fields=loaded.chunked_fields,
        )
        if owned.single_batch_until > start:
            log.warning(
                "workers ended at this offset before: reading single batches and records",
                partition=partition,
                offset=start,
                attempts=acquired.attempts,
            )
        at_once = {n: v for n, v in loaded.outbox.items() if n not in loaded.chunked_fields.fields}
        # Chunked entries become single fields with the next commit, and are published then.
        owned.outbox = {n: v for n, v in loaded.outbox.items() if n not in at_once}
        log.info("owned", partition=partition, offset=start, attempts=acquired.attempts)
        return RecoveredPartition(owned, at_once)

    async def _load(self, key: str, partition: int, acquired: Acquired) -> _Loaded:
        """The state at the stored offset, and the entries of the outbox."""
        retained = self._retained.pop(partition, None)
        if acquired.next is None:
            return _Loaded(self._state_factory.new(self._topic, partition), {}, ChunkedFields())
        if retained is not None and retained.next == acquired.next and not acquired.chunked:
            return _Loaded(
                retained.partition_state, {}, ChunkedFields()
            )  # the state depends on the offset only: nothing to load
        stored = await self._store.load(key)
        dead = [name for name, value in stored.items() if not value]
        await self._store.sweep(
            key, acquired.fencing_token, dead
        )  # an owner that crashed left them
        fields, chunked_fields = merge_chunks(stored)
        state = {name: value for name, value in fields.items() if name.startswith(STATE)}
        outbox = {name: value for name, value in fields.items() if name not in state}
        partition_state = self._state_factory.restore(self._topic, partition, state)
        return _Loaded(partition_state, sort_outbox(outbox), chunked_fields)

    async def _start_offset(self, partition: int) -> int:
        """The offset to start at where the store has no state of the partition."""
        earliest = await self._reader.earliest(partition)
        try:
            read_before = await self._reader.committed(partition)
        except KafkaException:
            if self._on_state_loss == "resume":
                raise
            read_before = None  # it is only logged
        if read_before is None or read_before <= earliest:
            return earliest
        rebuilt = self._on_state_loss == "rebuild" or partition in self._truncated
        self._truncated.discard(partition)  # it holds for one recovery only
        start = earliest if rebuilt else read_before
        # Deleted records cannot be replayed: references and episodes may differ.
        log.critical(
            "the store has lost the state of a partition",
            partition=partition,
            policy=self._on_state_loss,
            read_before=read_before,
            start=start,
            deleted_before=earliest,
        )
        return start
