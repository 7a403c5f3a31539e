"""Taking one partition over: acquire it, read its state, find where to begin."""

from __future__ import annotations

import itertools
import time
from collections.abc import Collection
from typing import Literal, NamedTuple, TypeAlias

import structlog
from confluent_kafka import KafkaException

from producer.failpoint import failpoint
from stream_monitor.runtime.caution import careful_until, packed_until
from stream_monitor.runtime.partitions import Owned
from stream_monitor.runtime.reader_thread import ReaderThread
from stream_monitor.runtime.relay import in_order
from stream_monitor.state.bundles import Carried, unpack
from stream_monitor.state.fold import STATE, FoldFactory, PartitionFold
from stream_monitor.state.redis_store import partition_key
from stream_monitor.state.store import Acquired, Refused, StateStore

log = structlog.get_logger(__name__)

OnLoss: TypeAlias = Literal["rebuild", "resume"]
"""Where to begin when the store lost a partition: at its first record, or where Kafka says."""


class Taken(NamedTuple):
    """A partition that is ours, and what is left of its outbox to publish at once."""

    owned: Owned
    outbox: dict[str, bytes]


class _Loaded(NamedTuple):
    fold: PartitionFold
    outbox: dict[str, bytes]
    carried: Carried


class _Kept(NamedTuple):
    """The fold of a partition we gave up, all of it committed at ``next``."""

    next: int
    fold: PartitionFold


class Takeover:
    """Takes partitions of one topic over for one member."""

    def __init__(
        self,
        *,
        topic: str,
        member: str,
        store: StateStore,
        folds: FoldFactory,
        reader: ReaderThread,
        on_loss: OnLoss,
    ) -> None:
        self._topic = topic
        self._member = member
        self._store = store
        self._folds = folds
        self._reader = reader
        self._on_loss = on_loss
        self._tags = itertools.count()
        self._kept: dict[int, _Kept] = {}
        self._truncated: set[int] = set()

    def tag(self, epoch: str) -> str:
        """A mark for the batches of one more reading."""
        return f"{epoch}.{next(self._tags)}"

    def keep(self, owned: Owned) -> None:
        """Remember the fold of a partition that is given up with all of it committed."""
        if owned.committed is not None:
            self._kept[owned.partition] = _Kept(owned.committed, owned.fold)

    def keep_only(self, partitions: Collection[int]) -> None:
        """Forget the folds of all other partitions."""
        self._kept = {p: kept for p, kept in self._kept.items() if p in partitions}

    def begin_at_earliest(self, partition: int) -> None:
        """The log ends below what Kafka was told of it: that is no place to resume at."""
        self._truncated.add(partition)

    async def take(self, partition: int, generation: int) -> Taken | Refused:
        """Acquire and load one partition.

        Raises:
            StoreUnavailable: the store does not answer now.
            KafkaException: the broker does not answer now.
            CorruptState: what is stored does not read back.
        """
        key = partition_key(self._topic, partition)
        acquired = await self._store.acquire(key, generation, self._member, _now_ms())
        if isinstance(acquired, Refused):
            return acquired
        failpoint("monitor.partition.acquired")
        loaded = await self._load(key, partition, acquired)
        start = acquired.next
        if start is None:
            start = await self._beginning(partition)
        owned = Owned(
            topic=self._topic,
            partition=partition,
            key=key,
            epoch=acquired.epoch,
            tag=self.tag(acquired.epoch),
            fold=loaded.fold,
            position=start,
            committed=acquired.next,
            last_record_s=time.monotonic(),
            careful_until=careful_until(acquired, start),
            packed_until=packed_until(acquired, start),
            tried=acquired.tried,
            carried=loaded.carried,
        )
        if owned.packed_until > start:
            log.warning("workers ended here before: one batch, one record at a time",
                        partition=partition, offset=start, attempts=acquired.attempts)  # fmt: skip
        at_once = {n: v for n, v in loaded.outbox.items() if n not in loaded.carried.fields}
        # What is bundled becomes a field of its own with the next commit, and is published then.
        owned.outbox = {n: v for n, v in loaded.outbox.items() if n not in at_once}
        log.info("owned", partition=partition, offset=start, attempts=acquired.attempts)
        return Taken(owned, at_once)

    async def _load(self, key: str, partition: int, acquired: Acquired) -> _Loaded:
        """State at the stored offset, and what is left in the outbox."""
        kept = self._kept.pop(partition, None)
        if acquired.next is None:
            return _Loaded(self._folds.new(self._topic, partition), {}, Carried())
        if kept is not None and kept.next == acquired.next and not acquired.bundled:
            return _Loaded(kept.fold, {}, Carried())  # a function of the offset: nothing to read
        stored = await self._store.load(key)
        dead = [name for name, value in stored.items() if not value]
        await self._store.sweep(key, acquired.epoch, dead)  # an owner that died left them
        fields, carried = unpack(stored)
        state = {name: value for name, value in fields.items() if name.startswith(STATE)}
        outbox = {name: value for name, value in fields.items() if name not in state}
        fold = self._folds.restore(self._topic, partition, state)
        return _Loaded(fold, in_order(outbox), carried)

    async def _beginning(self, partition: int) -> int:
        """Where to begin with a partition that the store knows nothing of."""
        earliest = await self._reader.earliest(partition)
        try:
            read_before = await self._reader.committed(partition)
        except KafkaException:
            if self._on_loss == "resume":
                raise
            read_before = None  # only for the record of it
        if read_before is None or read_before <= earliest:
            return earliest
        rebuilt = self._on_loss == "rebuild" or partition in self._truncated
        self._truncated.discard(partition)  # of the next loss it says nothing
        start = earliest if rebuilt else read_before
        # Of what was deleted nothing can be rebuilt: references and episodes may differ.
        log.critical("the store has lost the state of a partition", partition=partition,
                     policy=self._on_loss, read_before=read_before, start=start,
                     deleted_before=earliest)  # fmt: skip
        return start


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
