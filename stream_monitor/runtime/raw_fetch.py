"""Fetches single batches of a partition without decompressing them.

librdkafka decompresses every batch that it fetches, and a gzip batch of 8 MiB may hold 8 GB.  Here
a batch is as large as the broker stores it, and the caller decides when to decompress it: it can
write an attempt marker before.  This is slow, and used only for partitions that crashed their
owners.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.errors import KafkaError, LeaderNotAvailableError, OffsetOutOfRangeError, for_code
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

from stream_monitor.ingest.records import RecordBatch, StaticHeaders
from stream_monitor.runtime.reader import FetchPosition, ReadFailure, consumer_record

ANSWER_S: Final = 45.0
WAIT_MS: Final = 100
"""How long the broker waits for a record before it answers without one."""
ONE_BATCH_BYTES: Final = 1
"""With this limit a broker answers with one whole batch, and with no second one."""


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
                consumer_record(
                    r.offset, r.timestamp, dict(r.headers), r.value, r.key, StaticHeaders(r.headers)
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
