"""The product's worker on a scripted log of compressed batches; Kafka and the core are fakes."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple, cast

from stream_monitor.core.observation import Steps
from stream_monitor.ingest.records import ConsumerRecord, RecordBatch
from stream_monitor.metrics import Metrics
from stream_monitor.runtime.bootstrap import handle_read_failure
from stream_monitor.runtime.committer import Committer
from stream_monitor.runtime.outbox import OutboxRelay
from stream_monitor.runtime.ownership import PartitionOwnership, PartitionRecovery
from stream_monitor.runtime.partitions import OwnedPartition, OwnedPartitions
from stream_monitor.runtime.poison_records import (
    MAX_ATTEMPTS,
    Answer,
    GuardedFetch,
    RawBatch,
    RawBatchReader,
)
from stream_monitor.runtime.processor import BatchProcessor
from stream_monitor.runtime.publisher import Publisher
from stream_monitor.runtime.reader import EventTopicReader, FetchPosition, ReadFailure
from stream_monitor.settings import CommitSettings, DeadLetterSettings
from stream_monitor.state.partition_state import PartitionStateFactory
from stream_monitor.state.redis_store import partition_key
from stream_monitor.state.store import ATTEMPT_FIELD, AttemptMarker
from tests.memory_store import InMemoryStateStore

TOPIC: Final = "careful"
SEEN: Final = "s:seen"


class Death(BaseException):
    """The process is gone."""


class Packed(NamedTuple):
    """A batch of the partition; without records where its transaction was aborted."""

    first: int
    last: int
    compressed: bool = True
    aborted: bool = False


class Applied(NamedTuple):
    """As `BatchResult` has it."""

    outbox: dict[str, bytes]
    alerts: tuple[()] = ()
    dead_letters: tuple[()] = ()
    urgent: bool = False
    controls: tuple[()] = ()
    batch_rows: Mapping[int, int] = {}


class ListFold:
    """Remembers which offsets it was given."""

    def __init__(self, seen: list[int]) -> None:
        self.seen = seen
        self.skipped: list[int] = []

    def observe_in_steps(self, batch: RecordBatch) -> Steps[Applied]:
        self.seen += [record.offset for record in batch.records]
        yield
        return Applied({f"o:w:{batch.start}": b"{}"})

    def skip(self, record: ConsumerRecord) -> None:
        self.seen.append(record.offset)
        self.skipped.append(record.offset)

    def take_changes_in_steps(self) -> Iterator[dict[str, bytes]]:
        yield {SEEN: " ".join(map(str, self.seen)).encode() or b"-"}


class ListFolds:
    """Makes `ListFold`."""

    def new(self, _topic: str, _partition: int) -> ListFold:
        return ListFold([])

    def restore(self, _topic: str, _partition: int, fields: Mapping[str, bytes]) -> ListFold:
        stored = fields.get(SEEN, b"-")
        return ListFold([] if stored == b"-" else [int(one) for one in stored.split()])


class Log:
    """Partitions of packed batches; a partition may fail to answer, or kill."""

    def __init__(self, batches: Mapping[int, list[Packed]]) -> None:
        self.batches = batches
        self.silent: set[int] = set()
        self.on_unpack: Callable[[RawBatch], None] = lambda _batch: None
        self.fetched: collections.Counter[int] = collections.Counter()

    def end(self, partition: int) -> int:
        return self.batches[partition][-1].last + 1

    def records(self, partition: int) -> list[int]:
        return [
            offset
            for batch in self.batches[partition]
            if not batch.aborted
            for offset in range(batch.first, batch.last + 1)
        ]

    def answer(self, partition: int, position: FetchPosition) -> Answer:
        self.fetched[partition] += 1
        if partition in self.silent:
            return ReadFailure(
                partition, position.fetch_generation, position.offset, "other", "no leader"
            )
        batch = next((b for b in self.batches[partition] if b.last >= position.offset), None)
        if batch is None:
            return None
        return _scripted(self, batch, partition, position)


def _scripted(log: Log, batch: Packed, partition: int, position: FetchPosition) -> RawBatch:
    first = max(position.offset, batch.first)

    class Scripted(RawBatch):
        """Decompresses to the scripted records, or fails as scripted."""

        def decompress(self) -> RecordBatch:
            log.on_unpack(self)
            offsets = range(first, first if batch.aborted else batch.last + 1)
            records = [ConsumerRecord(offset, 0, None, b"{}") for offset in offsets]
            return RecordBatch(
                TOPIC, partition, self.fetch_generation, self.start, self.last + 1, records
            )

    return Scripted(
        TOPIC,
        partition,
        position.fetch_generation,
        position.offset,
        first,
        batch.last,
        log.end(partition),
        batch.compressed,
        (),
        b"",
    )


class _Publisher:
    def __init__(self) -> None:
        self.dead_letters = 0

    async def publish(self, *_: Any, **__: Any) -> asyncio.Future[None]:
        self.dead_letters += 1
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done


class _Elsewhere:
    """The assignment of librdkafka."""

    def __init__(self) -> None:
        self.placed: dict[int, int] = {}

    async def seek(self, positions: Mapping[int, FetchPosition]) -> None:
        self.placed |= {partition: position.offset for partition, position in positions.items()}

    async def drop(self, partitions: Iterable[int] | None = None) -> None:
        for partition in list(self.placed if partitions is None else partitions):
            self.placed.pop(partition, None)

    async def earliest(self, _partition: int) -> int:
        return 0

    async def committed(self, _partition: int) -> None:
        return None


class GuardedFetchWorker:
    """One member, without Faust around it."""

    def __init__(
        self, store: InMemoryStateStore, log: Log, member: str, *, folds: Any = None, **limits: int
    ) -> None:
        self.store, self.log, self.now_s = store, log, 0.0
        self.partitions = OwnedPartitions()
        self.dead_letters, self.reader = _Publisher(), _Elsewhere()
        metrics = Metrics()
        publisher, reader = (
            cast("Publisher", self.dead_letters),
            cast("EventTopicReader", self.reader),
        )
        self.relay = OutboxRelay(store, publisher, metrics, topic="alerts", window_ttl_ms=1)
        self.ownership = PartitionOwnership(
            topic=TOPIC,
            store=store,
            partitions=self.partitions,
            reader=reader,
            relay=self.relay,
            metrics=metrics,
            recovery=PartitionRecovery(
                topic=TOPIC,
                member=member,
                store=store,
                state_factory=cast("PartitionStateFactory", folds or ListFolds()),
                reader=reader,
                on_state_loss="rebuild",
            ),
        )
        self.committer = Committer(
            store,
            self.partitions,
            self.relay,
            metrics,
            settings=CommitSettings(interval_s=0.25, timeout_s=5),
            on_rejected=self.ownership.on_commit_rejected,
        )
        self.processor = BatchProcessor(
            self.partitions,
            self.committer,
            publisher,
            metrics,
            dead_letters="dead",
            limit=DeadLetterSettings(**limits),
            on_limit=self.ownership.stop,
        )
        packed = cast("RawBatchReader", self)
        self.guarded_fetch = GuardedFetch(
            self.partitions,
            packed,
            self.processor,
            self.committer,
            reposition=self.ownership.reposition,
            on_read_failure=lambda failure: handle_read_failure(
                failure, self.processor, self.ownership
            ),
            clock_s=lambda: self.now_s,
        )

    async def fetch(self, partition: int, position: FetchPosition) -> Answer:
        """As a `RawBatchReader`."""
        await asyncio.sleep(0)
        return self.log.answer(partition, position)

    async def close(self) -> None:
        """There are no connections."""

    def owned(self, partition: int) -> OwnedPartition:
        owned = self.partitions.get(partition)
        assert owned is not None
        return owned

    def seen(self, partition: int) -> list[int]:
        """The records that were applied or skipped, in order."""
        return cast("ListFold", self.owned(partition).partition_state).seen

    async def give_up(self, budget_s: float = 5.0) -> None:
        await self.ownership.revoke(self.processor.lock, self.committer, budget_s)


def died_here(store: InMemoryStateStore, partition: int, offset: int = 0) -> None:
    """A partition at which so many owners ended that the next one is careful."""
    store.hashes[partition_key(TOPIC, partition)] = {
        "_next": b"%d" % offset,
        "_acqnext": b"%d" % offset,
        "_att": b"%d" % MAX_ATTEMPTS,
        "_gen": b"1",
        "_member": b"dead",
        "_ts": b"0",
        SEEN: " ".join(map(str, range(offset))).encode() or b"-",
    }


def left(store: InMemoryStateStore, partition: int) -> AttemptMarker | None:
    """The word that stands in the store."""
    return AttemptMarker.read(store.hashes[partition_key(TOPIC, partition)].get(ATTEMPT_FIELD, b""))
