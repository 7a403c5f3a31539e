"""Finds poison records, which crash the process that reads them, and skips them.

A process that crashes reports nothing.  But if several members acquired a partition at one offset,
one after the other, a record behind that offset has probably crashed them.  The next owner
decompresses one batch at a time (`GuardedFetch`) and processes one record at a time
(`BatchProcessor`); before each attempt it writes an attempt marker to the store.  After
`MAX_ATTEMPTS` attempts at a batch or record alone, the owner skips it: it counts as dead-lettered,
and its dead letter refers to it by offset, without its content.  A record that cannot be
decompressed is skipped too.  Of a record of many events only the row is skipped
(`stream_monitor.runtime.poison_rows`).

librdkafka decompresses every batch that it fetches, and a gzip batch of 8 MiB may hold 8 GB.  So
`RawBatchReader` fetches a batch as the broker stores it, and the marker is written before the batch
is decompressed.  This is slow, and used only for partitions that crashed their owners.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import structlog
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.errors import KafkaError, LeaderNotAvailableError, OffsetOutOfRangeError, for_code
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

from stream_monitor.contracts import UNKNOWN_MODEL, DeadLetter
from stream_monitor.ingest.records import ConsumerRecord, RecordBatch, StaticHeaders
from stream_monitor.ingest.rejection import model_from_key
from stream_monitor.runtime.partitions import OwnedPartition, OwnedPartitions
from stream_monitor.runtime.reader import FetchPosition, ReadFailure
from stream_monitor.state.store import Acquired, AttemptMarker

if TYPE_CHECKING:
    from stream_monitor.runtime.committer import Committer
    from stream_monitor.runtime.processor import BatchProcessor

log = structlog.get_logger(__name__)

MAX_ATTEMPTS: Final = 3
"""Members that may crash at one offset, and attempts at one record alone."""
SINGLE_RECORD_OFFSETS: Final = 5_000
"""How far behind the offset a crashed worker may have been: one batch, and those in its queue."""
SINGLE_BATCH_OFFSETS: Final = 20_000
"""How far behind the offset librdkafka may have decompressed: the length of its queue."""
MAX_SKIPPED_RECORDS: Final = 1_000
"""Records of a batch that are skipped between two commits: each holds a dead letter in memory."""
MAX_PROCESSED_RECORDS: Final = 500
"""Records of a decompressed batch that are processed before other tasks get the lock."""
POISON_RECORD: Final = "poison_record"
UNREADABLE: Final = "unreadable"
PAUSE_S: Final = 1.0
"""Pause after a failed fetch, before the next one of the partition."""
ANSWER_S: Final = 45.0
WAIT_MS: Final = 100
"""How long the broker waits for a record before it answers without one."""
ONE_BATCH_BYTES: Final = 1
"""With this limit a broker answers with one whole batch, and with no second one."""


def single_record_until(acquired: Acquired, start: int) -> int:
    """The offset up to which records are processed alone; ``start`` if none are.

    >>> single_record_until(Acquired("epoch", 7, attempts=3), 7)
    7
    >>> single_record_until(Acquired("epoch", 7, attempts=4), 7)
    5007
    """
    return start + SINGLE_RECORD_OFFSETS if _is_suspect(acquired, start) else start


def single_batch_until(acquired: Acquired, start: int) -> int:
    """The offset up to which batches are decompressed alone; ``start`` if none are."""
    return start + SINGLE_BATCH_OFFSETS if _is_suspect(acquired, start) else start


def _is_suspect(acquired: Acquired, start: int) -> bool:
    attempt = acquired.last_attempt
    failed_alone = attempt is not None and attempt.times > 0 and attempt.offset >= start
    return acquired.attempts > MAX_ATTEMPTS or failed_alone


def next_attempt(
    offset: int, before: AttemptMarker | None, *, decompressing: bool = False
) -> AttemptMarker:
    """The marker of the next attempt, after the attempt ``before``.

    >>> next_attempt(7, AttemptMarker(7, 2)).times
    3
    >>> next_attempt(7, AttemptMarker(7, 2), decompressing=True).times
    1
    """
    same = before is not None and (before.offset, before.decompressing) == (offset, decompressing)
    return AttemptMarker(
        offset, before.times + 1 if same and before is not None else 1, decompressing
    )


def split_batch(batch: RecordBatch, n_records: int) -> Iterator[RecordBatch]:
    """Split a batch into batches of ``n_records``, without a gap between them."""
    start = batch.start
    for at in range(0, max(1, len(batch.records)), n_records):
        part = batch.records[at : at + n_records]
        is_last = at + n_records >= len(batch.records)
        upto = batch.next if is_last else part[-1].offset + 1
        yield batch._replace(start=start, next=upto, records=part)
        start = upto


def unread_record(owned: OwnedPartition, offset: int) -> RecordBatch:
    """A batch of one record without content, from the position of the partition."""
    record = ConsumerRecord(offset, 0, None, None)
    return RecordBatch(
        owned.topic, owned.partition, owned.fetch_generation, owned.position, offset + 1, [record]
    )


def dead_letter_by_reference(
    batch: RecordBatch, record: ConsumerRecord, reason: str, detail: str, row: int | None = None
) -> DeadLetter:
    """The dead letter of a skipped record, or of one of its rows: without its content."""
    return DeadLetter(
        topic=batch.topic,
        partition=batch.partition,
        offset=record.offset,
        timestamp_ms=record.timestamp_ms,
        reason=reason,
        detail=detail,
        sha256="",
        size_bytes=len(record.value or b""),
        model=model_from_key(record) or UNKNOWN_MODEL,
        source=record.source,
        row=row,
    )


class UnreadableBatch(Exception):  # noqa: N818 - names what happened
    """A batch is damaged and cannot be decompressed."""


class RawBatch(NamedTuple):
    """One batch of a partition as the broker stores it, of which the records from ``start`` count.

    ``first`` and ``last`` are the offsets of its first and last record from ``start`` on.  ``end``
    is the end of the partition.
    """

    topic: str
    partition: int
    fetch_generation: str
    start: int
    first: int
    last: int
    end: int
    compressed: bool
    aborted: Sequence[tuple[int, int]]
    raw: bytes

    def decompress(self) -> RecordBatch:
        """The records of committed transactions, and those outside of transactions.

        Raises:
            UnreadableBatch: the batch is damaged.
            MemoryError: the batch does not fit into memory; the system may also kill the process.
        """
        of = TopicPartition(self.topic, self.partition)
        inside = PartitionRecords(
            of,
            MemoryRecords(self.raw),
            self.aborted,
            self.start,
            key_deserializer=None,
            value_deserializer=None,
            check_crcs=True,
            isolation_level=READ_COMMITTED,
        )
        try:
            records = [
                ConsumerRecord(
                    r.offset, r.timestamp, None, r.value, r.key, StaticHeaders(r.headers)
                )
                for r in inside
            ]
        except MemoryError:
            raise
        except Exception as error:  # each codec has its own
            raise UnreadableBatch(f"{type(error).__name__}: {error}") from error
        upto = max(self.start, inside.next_fetch_offset)
        return RecordBatch(
            self.topic, self.partition, self.fetch_generation, self.start, upto, records
        )


Answer: TypeAlias = RawBatch | ReadFailure | None


class RawBatchReader:
    """Reads single batches of one topic; it connects with the first fetch."""

    def __init__(self, topic: str, addresses: Sequence[str], credentials: Any) -> None:
        self._topic = topic
        self._addresses = list(addresses)
        self._credentials = credentials
        self._client: AIOKafkaClient | None = None

    async def fetch(self, partition: int, position: FetchPosition) -> Answer:
        """The batch that contains ``position``; ``None`` at the end of the partition."""
        try:
            async with asyncio.timeout(ANSWER_S):
                return await self._fetch(partition, position)
        except OffsetOutOfRangeError as error:
            return ReadFailure(
                partition, position.fetch_generation, position.offset, "out_of_range", repr(error)
            )
        except Exception as error:  # noqa: BLE001 - a moved leader, a quota, a broken client
            await self.close()  # a new client reads new metadata
            return ReadFailure(
                partition, position.fetch_generation, position.offset, "other", repr(error)
            )

    async def close(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _fetch(self, partition: int, position: FetchPosition) -> RawBatch | None:
        client = await self._connected()
        leader = client.cluster.leader_for_partition(TopicPartition(self._topic, partition))
        if leader is None or leader < 0:
            raise LeaderNotAvailableError
        of = (partition, position.offset, ONE_BATCH_BYTES)
        request = FetchRequest(WAIT_MS, 1, ONE_BATCH_BYTES, READ_COMMITTED, [(self._topic, [of])])
        response = await client.send(leader, request)
        if response.API_VERSION >= 7 and response.error_code:
            raise for_code(response.error_code)
        answers = [answer for _topic, partitions in response.topics for answer in partitions]
        if not answers:
            raise KafkaError("the answer lacks the partition: a quota delays it")
        _partition, code, end, stable, *rest = answers[0]
        if code:
            raise for_code(code)
        batch = MemoryRecords(rest[-1]).next_batch() if rest[-1] else None
        if batch is None:
            if position.offset < stable:
                raise KafkaError(f"an empty answer, but the partition ends at {stable}")
            return None
        return RawBatch(
            topic=self._topic,
            partition=partition,
            fetch_generation=position.fetch_generation,
            start=position.offset,
            first=max(position.offset, getattr(batch, "base_offset", position.offset)),
            last=max(position.offset, batch.next_offset - 1),
            end=end,
            compressed=getattr(batch, "compression_type", True) != 0,  # unknown before Kafka 0.11
            aborted=(rest[1] if response.API_VERSION >= 11 else rest[-2]) or (),
            raw=_first_of(rest[-1]),
        )

    async def _connected(self) -> AIOKafkaClient:
        if self._client is None:
            client = AIOKafkaClient(
                bootstrap_servers=self._addresses, **credentials_to_aiokafka_auth(self._credentials)
            )
            try:
                await client.bootstrap()
                await client.add_topic(self._topic)
            except BaseException:
                await client.close()
                raise
            self._client = client
        return self._client


def _first_of(raw: bytes) -> bytes:
    """The first batch alone; its length field follows its offset."""
    (length,) = struct.unpack_from(">i", raw, 8)
    return raw[: 12 + length]


class GuardedFetch:
    """Fetches partitions below their ``single_batch_until``, one batch at a time.

    It changes a partition only under the processor's lock, after a check that the worker still owns
    it at the same position: other tasks run while it waits.
    """

    def __init__(
        self,
        partitions: OwnedPartitions,
        reader: RawBatchReader,
        processor: BatchProcessor,
        committer: Committer,
        *,
        on_read_failure: Callable[[ReadFailure], Awaitable[None]],
        reposition: Callable[[OwnedPartition], Awaitable[None]],
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._partitions = partitions
        self._reader = reader
        self._processor = processor
        self._committer = committer
        self._on_read_failure = on_read_failure
        self._reposition = reposition
        self._clock_s = clock_s
        self._not_before_s: dict[int, float] = {}
        self._ends: dict[int, int] = {}
        self._unreadable: Counter[tuple[int, int]] = Counter()

    async def fetch_due(self) -> None:
        """Fetch a batch of each suspect partition in turn, until none is left or all must wait."""
        if not self._suspect_partitions():
            await self.close()
        while ready := [o for o in self._suspect_partitions() if self._may_read(o)]:
            for owned in ready:
                await self._step(owned)

    def lags(self) -> dict[int, int]:
        """Records between the position and the last known end of each partition."""
        return {
            owned.partition: max(0, self._ends[owned.partition] - owned.position)
            for owned in self._suspect_partitions()
            if owned.partition in self._ends
        }

    async def close(self) -> None:
        """Close the connections."""
        await self._reader.close()

    def _suspect_partitions(self) -> list[OwnedPartition]:
        return [owned for owned in self._partitions if owned.position < owned.single_batch_until]

    def _may_read(self, owned: OwnedPartition) -> bool:
        return self._clock_s() >= self._not_before_s.get(owned.partition, 0.0)

    async def _step(self, owned: OwnedPartition) -> None:
        """Fetch and process one batch of a partition."""
        position = FetchPosition(owned.fetch_generation, owned.position)
        found = await self._reader.fetch(owned.partition, position)
        if owned.is_lost() or position != (owned.fetch_generation, owned.position):
            return
        if isinstance(found, ReadFailure):
            self._not_before_s[owned.partition] = self._clock_s() + PAUSE_S
            await self._on_read_failure(found)
            return
        if found is None:  # the end: a crash before came from no later record
            owned.single_batch_until = owned.single_record_until = owned.position
        else:
            self._ends[owned.partition] = found.end
            await self._process_raw_batch(owned, found)
        if not owned.is_lost() and owned.position >= owned.single_batch_until:
            await self._reposition(owned)

    async def _process_raw_batch(self, owned: OwnedPartition, raw_batch: RawBatch) -> None:
        """Decompress and process a batch, unless it has crashed too many workers."""
        if raw_batch.compressed and not await self._write_attempt_marker(owned, raw_batch):
            return
        try:
            batch = await asyncio.to_thread(raw_batch.decompress)
        except UnreadableBatch as error:
            await self._clear_attempt_marker(owned)
            await self._on_unreadable(owned, raw_batch, str(error))
            return
        except MemoryError:
            owned.attempt_marker = None  # the batch is the cause: its marker stays
            raise
        await self._clear_attempt_marker(owned)
        for piece in split_batch(batch, MAX_PROCESSED_RECORDS):
            async with self._processor.lock:
                if not _is_at(owned, piece.start, raw_batch.fetch_generation):
                    return
                await self._processor.take(owned, piece)

    async def _write_attempt_marker(self, owned: OwnedPartition, raw_batch: RawBatch) -> bool:
        """Store the marker of a batch; or skip the batch if it crashed `MAX_ATTEMPTS` workers."""
        async with self._processor.lock:
            if not _is_at(owned, raw_batch.start, raw_batch.fetch_generation):
                return False
            if not await self._committer.commit(owned):
                return False
            attempt = next_attempt(raw_batch.last, owned.last_attempt, decompressing=True)
            if attempt.times <= MAX_ATTEMPTS:
                if not await self._committer.write_attempt_marker(owned, attempt):
                    return False
                owned.attempt_marker = attempt
                return True
        why = f"{MAX_ATTEMPTS} workers ended while they decompressed the batch of this record"
        await self._skip(owned, raw_batch, POISON_RECORD, why)
        return False

    async def _clear_attempt_marker(self, owned: OwnedPartition) -> None:
        """Clear the marker: the batch was decompressed without a crash.

        A revocation in the meantime has already cleared it.
        """
        async with self._processor.lock:
            left, owned.attempt_marker = owned.attempt_marker, None
            if left is not None and not owned.is_lost():
                await self._committer.write_attempt_marker(owned, left._replace(times=0))

    async def _on_unreadable(self, owned: OwnedPartition, raw_batch: RawBatch, why: str) -> None:
        """Skip a batch that `MAX_ATTEMPTS` fetches could not decompress."""
        at = owned.partition, raw_batch.start
        self._unreadable[at] += 1
        if self._unreadable[at] >= MAX_ATTEMPTS:
            del self._unreadable[at]
            await self._skip(owned, raw_batch, UNREADABLE, why)

    async def _skip(
        self, owned: OwnedPartition, raw_batch: RawBatch, reason: str, why: str
    ) -> None:
        """Skip all records of a batch, with a commit every `MAX_SKIPPED_RECORDS` records."""
        log.critical(
            "skipping a batch",
            partition=owned.partition,
            first=raw_batch.first,
            last=raw_batch.last,
            reason=reason,
            why=why,
        )
        at, start = raw_batch.first, raw_batch.start
        while at <= raw_batch.last:
            async with self._processor.lock:
                if not _is_at(owned, start, raw_batch.fetch_generation):
                    return
                upto = min(raw_batch.last + 1, at + MAX_SKIPPED_RECORDS)
                for offset in range(at, upto):
                    await self._processor.skip(owned, unread_record(owned, offset), reason, why)
                if not await self._committer.commit(owned):
                    return
            at = start = upto
        owned.single_record_until = owned.position  # the cause is found


def _is_at(owned: OwnedPartition, position: int, fetch_generation: str) -> bool:
    return (
        not owned.is_lost()
        and owned.fetch_generation == fetch_generation
        and owned.position == position
    )
