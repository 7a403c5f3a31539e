"""Partition ownership: acquires partitions, recovers their state, and releases them.

`PartitionRecovery` acquires one partition and loads its state; `PartitionOwnership` keeps the
worker's partitions consistent with the group's assignment.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Collection, Iterable, Sequence
from typing import Final, NamedTuple

import structlog
from confluent_kafka import KafkaException

from producer.failpoints import failpoint
from stream_monitor.metrics import Metrics
from stream_monitor.runtime.clock import wall_clock_ms
from stream_monitor.runtime.committer import Committer, CommitTimeout
from stream_monitor.runtime.outbox import OutboxRelay, sort_outbox
from stream_monitor.runtime.partitions import OwnedPartition, OwnedPartitions
from stream_monitor.runtime.poison_records import single_batch_until, single_record_until
from stream_monitor.runtime.reader import EventTopicReader, FetchPosition, ReadFailure
from stream_monitor.settings import OnStateLoss
from stream_monitor.state.chunked_commit import ChunkedFields, merge_chunks
from stream_monitor.state.partition_state import STATE, PartitionState, PartitionStateFactory
from stream_monitor.state.redis_store import RedisStateStore, partition_key
from stream_monitor.state.store import Acquired, AcquireRejected, CommitOutcome, StoreUnavailable
from stream_monitor.state_parts import CorruptState

log = structlog.get_logger(__name__)

RETRY_S: Final = 2.0
"""Time between attempts to acquire a partition that the group has assigned."""
REVOKE_S: Final = 5.0
"""Longest wait of a revocation for the last commit and the relay."""


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
        store: RedisStateStore,
        state_factory: PartitionStateFactory,
        reader: EventTopicReader,
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
        """Keep the state of a released partition in memory, if all of it is committed."""
        if owned.committed is not None:
            self._retained[owned.partition] = _RetainedState(owned.committed, owned.partition_state)

    def retain_only(self, partitions: Collection[int]) -> None:
        """Drop the kept state of all other partitions."""
        self._retained = {p: retained for p, retained in self._retained.items() if p in partitions}

    def mark_truncated(self, partition: int) -> None:
        """Record that the partition ends below the group's offset, so it cannot resume there."""
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
                "earlier workers crashed at this offset; reading single batches and records",
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


class PartitionOwnership:
    """Keeps `OwnedPartitions` consistent with the group's assignment and the store."""

    def __init__(
        self,
        *,
        topic: str,
        store: RedisStateStore,
        recovery: PartitionRecovery,
        partitions: OwnedPartitions,
        reader: EventTopicReader,
        relay: OutboxRelay,
        metrics: Metrics,
        retry_s: float = RETRY_S,
    ) -> None:
        self._topic = topic
        self._store = store
        self._recovery = recovery
        self._partitions = partitions
        self._reader = reader
        self._relay = relay
        self._metrics = metrics
        self._retry_s = retry_s
        self._taking = asyncio.Lock()
        self._turn = 0
        self._generation = 0
        self._again_at_s: dict[int, float] = {}
        self.assigned: frozenset[int] | None = None
        self.stopped: dict[int, str] = {}
        """Partitions that the worker stopped reading, and why.  A restart reads them again."""

    @property
    def waiting(self) -> list[int]:
        """The partitions that are assigned but not owned yet."""
        assigned = self.assigned or frozenset()
        return sorted(p for p in assigned if self._partitions.get(p) is None)

    async def take(self, assigned: Iterable[int], generation: int) -> None:
        """Acquire the partitions that the group has assigned, and release all others.

        `retry` tries those again that cannot be acquired now.
        """
        self._turn += 1
        self.assigned = frozenset(assigned)
        self._generation = generation
        self._recovery.retain_only(self.assigned)
        self._again_at_s.clear()
        for owned in self._partitions:
            self._forget(owned)
        if not self.assigned:
            log.warning(
                "this worker owns no partition: there are more workers than partitions",
                topic=self._topic,
                fix="stop it, or keep it as a standby",
            )
        await self._take_all(sorted(self.assigned - self.stopped.keys()))

    async def retry(self) -> None:
        """Retry acquisitions whose waiting time is over."""
        now = time.monotonic()
        ready = [
            p for p in self.waiting if p not in self.stopped and self._again_at_s.get(p, 0.0) <= now
        ]
        if ready and not self._taking.locked():
            await self._take_all(ready)

    def on_commit_rejected(self, owned: OwnedPartition, outcome: CommitOutcome) -> None:
        """Drop the state of a partition whose commit was rejected, and acquire it again.

        After STALE at once: the store has the next offset.  After FENCED after a wait: a
        newer owner may hold the partition, or Redis was rewound to before the acquisition.
        """
        self._forget(owned)
        wait_s = 0.0 if outcome is CommitOutcome.STALE else self._retry_s
        self._again_at_s[owned.partition] = time.monotonic() + wait_s

    async def reposition(self, owned: OwnedPartition) -> None:
        """Read a partition again from the position of its state."""
        if not owned.is_lost():
            owned.fetch_generation = self._recovery.next_fetch_generation(owned.fencing_token)
            log.info("seeking", partition=owned.partition, offset=owned.position)
            await self._resume_reading([owned])

    async def stop(self, owned: OwnedPartition, why: str) -> None:
        """Stop reading a partition; the batch that caused this is not committed."""
        self._forget(owned)
        await self._reader.drop((owned.partition,))
        self.stopped[owned.partition] = why
        with contextlib.suppress(StoreUnavailable):  # for `status` and `doctor`
            await self._store.stop(owned.key, owned.fencing_token, why)
        log.critical(
            "partition stopped",
            partition=owned.partition,
            why=why,
            offset=owned.committed,
            fix="fix the producer, or raise the limit, and start the worker again",
        )

    async def on_read_failure(self, failure: ReadFailure) -> None:
        """Handle a partition that cannot be read further."""
        owned = self._partitions.get(failure.partition)
        if owned is None or owned.fetch_generation != failure.fetch_generation:
            return
        if failure.kind != "out_of_range":
            log.warning("fetch failed", partition=failure.partition, detail=failure.detail)
            return
        earliest = await self._reader.earliest(failure.partition)
        if owned.position < earliest:
            await self._skip_deleted(owned, earliest)
        else:
            self._recovery.mark_truncated(owned.partition)
            await self._rebuild(owned, f"nothing at offset {owned.position}: truncated")

    async def revoke(
        self, lock: asyncio.Lock, committer: Committer, budget_s: float = REVOKE_S
    ) -> None:
        """Release all partitions, after a last commit if it succeeds within ``budget_s``."""
        self._turn += 1
        self.assigned = frozenset()
        ours = list(self._partitions)
        try:
            async with asyncio.timeout(budget_s):
                async with lock:
                    for owned in ours:
                        await self._commit_and_release(owned, committer)
                await self._relay.flush()
        except TimeoutError:
            log.warning("partitions were released without a last commit", seconds=budget_s)
        except (KafkaException, StoreUnavailable, CommitTimeout) as error:
            log.warning("partitions were released without a last commit", error=str(error))
        finally:
            for owned in ours:
                self._forget(owned)
            await self._reader.drop()

    async def _commit_and_release(self, owned: OwnedPartition, committer: Committer) -> None:
        """Commit and release a partition, and keep its state for the next acquisition."""
        failpoint("monitor.revoke.started")
        if await committer.commit(owned):
            failpoint("monitor.revoke.committed")
            if owned.attempt_marker is not None:  # the attempt did not crash
                await committer.write_attempt_marker(owned, owned.attempt_marker.decremented())
            await self._store.release(owned.key, owned.fencing_token)
            self._recovery.retain(owned)
        self._partitions.drop(owned)

    async def _take_all(self, partitions: list[int]) -> None:
        async with self._taking:
            turn = self._turn
            taken = await asyncio.gather(*(self._take(p, turn) for p in partitions))
            if turn != self._turn:
                return
            ours = [owned for owned in taken if owned is not None]
            for owned in ours:
                self._partitions.add(owned)
            self._metrics.owned.set(len(self._partitions))
            await self._resume_reading(ours)

    async def _resume_reading(self, ours: Sequence[OwnedPartition]) -> None:
        """Seek; below ``single_batch_until`` `GuardedFetch` reads instead of librdkafka."""
        for owned in ours:
            if owned.position < owned.single_batch_until:
                await self._reader.drop((owned.partition,))
        await self._reader.seek(
            {
                owned.partition: FetchPosition(owned.fetch_generation, owned.position)
                for owned in ours
                if owned.position >= owned.single_batch_until
            }
        )

    async def _take(self, partition: int, turn: int) -> OwnedPartition | None:
        """Acquire and load one partition; ``None`` if that is not possible now."""
        key = partition_key(self._topic, partition)
        self._again_at_s[partition] = time.monotonic() + self._retry_s
        try:
            taken = await self._recovery.take(partition, self._generation)
        except (StoreUnavailable, KafkaException) as error:
            self._metrics.store_errors.inc(isinstance(error, StoreUnavailable))
            log.warning("partition not acquired; retrying", partition=partition, error=str(error))
            return None
        except CorruptState as error:
            await self._quarantine(key, partition, str(error))
            return None
        if isinstance(taken, AcquireRejected):
            log.info(
                "acquisition rejected",
                partition=partition,
                by=taken.member,
                generation=taken.generation,
            )
            return None
        if turn != self._turn:
            return None
        self._relay.add(key, taken.outbox)
        return taken.owned

    async def _skip_deleted(self, owned: OwnedPartition, earliest: int) -> None:
        """Report records that retention deleted unread, and continue with the first one left."""
        gone = earliest - owned.position
        self._metrics.lost.labels(str(owned.partition)).inc(gone)
        log.critical(
            "records were deleted before they were read",
            partition=owned.partition,
            first=owned.position,
            records=gone,
        )
        owned.advance(earliest, time.monotonic())
        await self.reposition(owned)

    async def _rebuild(self, owned: OwnedPartition, why: str) -> None:
        self._forget(owned)
        await self._reader.drop((owned.partition,))
        await self._quarantine(owned.key, owned.partition, why)

    async def _quarantine(self, key: str, partition: int, why: str) -> None:
        """Quarantine state that does not fit the partition; the next attempt rebuilds it."""
        try:
            quarantine = await self._store.quarantine(key, wall_clock_ms())
        except StoreUnavailable as error:
            log.warning("state not quarantined; retrying", partition=partition, error=str(error))
            return
        self._again_at_s[partition] = 0.0
        log.critical(
            "state quarantined, rebuilding from the first record",
            partition=partition,
            why=why,
            quarantine=quarantine,
        )

    def _forget(self, owned: OwnedPartition) -> None:
        self._partitions.drop(owned)
        self._relay.forget(owned.key)
        self._metrics.forget(owned.topic, owned.partition)
        self._metrics.owned.set(len(self._partitions))
