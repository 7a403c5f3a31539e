"""Reads the event topic with librdkafka, in batches, from positions that the worker keeps.

librdkafka blocks: the methods of the reader run in its thread, one after the other, so that a fetch
and a seek never overlap.
"""

from __future__ import annotations

import asyncio
import functools
import math
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Concatenate, Final, Literal, NamedTuple, ParamSpec, TypeAlias, TypeVar, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from producer.kafka_client import consumer_of
from producer.permission import explained_denial
from stream_monitor.ingest.records import RecordBatch, RecordColumns

_METADATA_S: Final = 10.0
LINGER_S: Final = 0.005
MAX_LINGER_S: Final = 0.25
_LINGER_FACTOR: Final = 3.0
_MANY_EVENTS: Final = 50
NOTHING_S: Final = 0.02
"""How long a round takes while no partition is read."""
MAX_PART_BYTES: Final = 4 << 20
"""Large values that are processed at once, without a pause for other tasks: about 30,000 events in
batches, a fifth of a second."""
_LARGE_BYTES: Final = 4_096
"""Mean size of values from which on they are cut into parts: records of many events."""
_VERSIONS: Final = 16
_MOST_TIMES: Final = 16

READER_SETTINGS: Final[dict[str, Any]] = {
    "auto.offset.reset": "error",
    "enable.partition.eof": True,  # reports how far transaction markers reach
    "topic.metadata.refresh.interval.ms": 5_000,  # the default is five minutes
    "fetch.wait.max.ms": 20,
    "fetch.queue.backoff.ms": 10,  # the default of 1 s delays fetches after the queue was full
    "queued.min.messages": 65_536,
    "queued.max.messages.kbytes": 32_768,
    "log_level": 3,
}


class FetchPosition(NamedTuple):
    """The offset to read a partition from, and the generation that its batches carry."""

    fetch_generation: str
    offset: int


FailureKind: TypeAlias = Literal["out_of_range", "unreadable", "other"]
"""``out_of_range``: the partition has no such offset.  ``unreadable``: the batch cannot be
decompressed because it is damaged or larger than 100 MB; librdkafka retries for ever.  ``other``
may pass."""
_FAILURE_KINDS: Final[dict[int, FailureKind]] = {
    KafkaError._AUTO_OFFSET_RESET: "out_of_range",  # noqa: SLF001 - its public name
    KafkaError.OFFSET_OUT_OF_RANGE: "out_of_range",
    KafkaError._BAD_COMPRESSION: "unreadable",  # noqa: SLF001 - its public name
}


class ReadFailure(NamedTuple):
    """A partition cannot be read from ``position`` on."""

    partition: int
    fetch_generation: str
    position: int
    kind: FailureKind
    detail: str


class Fetched(NamedTuple):
    """The result of one round of reading."""

    batches: list[RecordBatch]
    failures: list[ReadFailure]


@dataclass(slots=True)
class _Position:
    fetch_generation: str
    position: int


P = ParamSpec("P")
T = TypeVar("T")


def _in_thread(
    method: Callable[Concatenate[EventTopicReader, P], T],
) -> Callable[Concatenate[EventTopicReader, P], Coroutine[Any, Any, T]]:
    """Make a coroutine of a method that blocks; it runs in the thread of the reader."""

    @functools.wraps(method)
    async def call(self: EventTopicReader, /, *args: P.args, **kwargs: P.kwargs) -> T:
        action = functools.partial(method, self, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._thread, action)

    return call


def fetch_records(max_records: int, n_versions: int) -> int:
    """The most records of one fetch: ``max_records``, and more where many versions are watched.

    Each version has a fixed cost in each batch, so a batch should have a few hundred events of
    each.

    >>> [fetch_records(4_000, n) for n in (0, 16, 40, 200, 1_000)]
    [4000, 4000, 8000, 48000, 64000]
    """
    return max_records * max(1, min(_MOST_TIMES, n_versions // _VERSIONS))


def linger_s(processing_s: float, events_per_key: float) -> float:
    """How long a fetch waits for more records after its first.

    A model has a fixed cost in each batch, about a millisecond.  Where the last fetch had only few
    events of each model (``events_per_key``), the next one waits up to three times as long as the
    processing of the last one took, so that a trickle of many models takes a quarter of a core
    instead of all of it.  Alerts come up to `MAX_LINGER_S` later.

    >>> [linger_s(*last) for last in ((0.01, 0), (0.01, 25), (0.01, 140), (0.2, 1))]
    [0.03, 0.015, 0.005, 0.25]
    """
    few = max(0.0, 1 - events_per_key / _MANY_EVENTS)
    return min(MAX_LINGER_S, max(LINGER_S, _LINGER_FACTOR * processing_s * few))


class EventTopicReader:
    """Reads partitions of one topic.

    A consumer gets each partition only once: a seek of a partition that it already has moves all
    partitions to a new consumer.  So no record that was buffered before a seek is returned after
    it, and a gap between offsets always means transaction markers or compaction.
    """

    def __init__(
        self,
        client: Mapping[str, Any],
        topic: str,
        *,
        group: str,
        max_records: int,
        idle_s: float = 0.25,
    ) -> None:
        self._client, self._group = client, group
        self._topic = topic
        self._max_records = max_records
        self._idle_s = idle_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reader")
        self._consumer: Consumer | None = None
        self._readings: dict[int, _Position] = {}
        self._seen: set[int] = set()
        self._events_per_key = math.inf

    @_in_thread
    def seek(self, positions: Mapping[int, FetchPosition]) -> None:
        """Read these partitions from these positions; the others continue from theirs."""
        if not positions:
            return
        for partition, position in positions.items():
            self._readings[partition] = _Position(position.fetch_generation, position.offset)
        if self._consumer is not None and self._seen.isdisjoint(positions):
            self._seen.update(positions)
            self._consumer.incremental_assign(self._targets(positions))
        else:
            self._restart()

    @_in_thread
    def drop(self, partitions: Iterable[int] | None = None) -> None:
        """Stop reading these partitions, or all."""
        gone = set(self._readings) if partitions is None else set(partitions) & set(self._readings)
        for partition in gone:
            del self._readings[partition]
        if self._consumer is not None and gone:
            self._consumer.incremental_unassign(
                [TopicPartition(self._topic, partition) for partition in gone]
            )

    @_in_thread
    def earliest(self, partition: int) -> int:
        """The first offset that the partition still has."""
        consumer = self._consumer or self._start()
        try:
            low, _high = consumer.get_watermark_offsets(
                TopicPartition(self._topic, partition), timeout=_METADATA_S
            )
        except KafkaException:
            if not self._readings:  # without a leader at its start the client may never find one
                self._close()
            raise
        return int(low)

    @_in_thread
    def committed(self, partition: int) -> int | None:
        """The offset that the group committed to Kafka; ``None`` if it never did.

        Raises:
            KafkaException: no broker answers.
        """
        consumer = self._consumer or self._start()
        target = TopicPartition(self._topic, partition)
        (answer,) = consumer.committed([target], timeout=_METADATA_S)
        if answer.error is not None:
            raise KafkaException(answer.error)
        return None if answer.offset < 0 else int(answer.offset)

    @_in_thread
    def lags(self) -> dict[int, int]:
        """Records between the position and the last known end of each partition."""
        if self._consumer is None:
            return {}
        lags: dict[int, int] = {}
        for partition, reading in self._readings.items():
            target = TopicPartition(self._topic, partition)
            _low, high = self._consumer.get_watermark_offsets(target, cached=True)
            if high >= 0:
                lags[partition] = max(0, high - reading.position)
        return lags

    @_in_thread
    def read(self, n_versions: int = 0, processing_s: float = 0.0) -> Fetched:
        """The next records, one batch a partition.  Waits ``idle_s`` at most for the first.

        ``n_versions`` are watched in these partitions (`fetch_records`); ``processing_s`` is the
        time that the records of the last fetch took (`linger_s`).
        """
        if self._consumer is None or not self._readings:
            time.sleep(NOTHING_S)
            return Fetched([], [])
        messages = self._consumer.consume(1, self._idle_s)
        if messages:
            more = fetch_records(self._max_records, n_versions) - 1
            wait_s = linger_s(processing_s, self._events_per_key)
            messages += self._consumer.consume(more, wait_s)
        return self._sorted_out(messages)

    @_in_thread
    def close(self) -> None:
        """Close the connections."""
        self._close()

    def _close(self) -> None:
        self._readings.clear()
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _sorted_out(self, messages: list[Message]) -> Fetched:
        read = [message for message in messages if message.error() is None]
        records = {p: records_of(of) for p, of in _by_partition(read).items()}
        ends: dict[int, int] = {}
        failures: list[ReadFailure] = []
        for message in messages if len(read) < len(messages) else ():
            partition = cast("int", message.partition())
            error = message.error()
            if error is None:
                continue
            if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
                ends[partition] = cast("int", message.offset())
            else:
                failures.extend(self._failure(partition, error))
        batches = [
            batch
            for partition in records.keys() | ends.keys()
            if (batch := self._batch(partition, records.get(partition), ends.get(partition)))
        ]
        n_bytes = sum(map(len, messages))
        self._events_per_key = events_per_key(batches, n_bytes)
        if n_bytes > max(MAX_PART_BYTES, _LARGE_BYTES * len(messages)):
            batches = [part for batch in batches for part in parts_of(batch, MAX_PART_BYTES)]
        return Fetched(batches, failures)

    def _batch(
        self, partition: int, records: RecordColumns | None, end: int | None
    ) -> RecordBatch | None:
        reading = self._readings.get(partition)
        if reading is None:
            return None
        start = reading.position
        upto = records.offsets[-1] + 1 if records else start
        if end is not None:
            upto = max(upto, end)
        if upto == start:
            return None
        reading.position = upto
        of = self._topic, partition, reading.fetch_generation
        return RecordBatch(*of, start, upto, records or [])

    def _failure(self, partition: int, error: KafkaError) -> list[ReadFailure]:
        if error.fatal():
            raise KafkaException(error)
        if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            topic = f"topic {self._topic}"
            raise KafkaException(explained_denial(error, "Read", topic, self._client))
        reading = self._readings.get(partition)
        if reading is None:
            return []
        kind = _FAILURE_KINDS.get(error.code(), "other")
        return [
            ReadFailure(partition, reading.fetch_generation, reading.position, kind, str(error))
        ]

    def _targets(self, partitions: Iterable[int]) -> list[TopicPartition]:
        return [TopicPartition(self._topic, p, self._readings[p].position) for p in partitions]

    def _start(self) -> Consumer:
        self._consumer = consumer_of(self._client, group=self._group, required=READER_SETTINGS)
        self._seen = set()
        return self._consumer

    def _restart(self) -> None:
        if self._consumer is not None:
            self._consumer.close()
        consumer = self._start()
        self._seen.update(self._readings)
        consumer.assign(self._targets(self._readings))


def parts_of(batch: RecordBatch, max_bytes: int) -> Iterator[RecordBatch]:
    """Cut a batch into parts of at most ``max_bytes`` of values, or of one record."""
    start, begin, size = batch.start, 0, 0
    for i, record in enumerate(batch.records):
        n_bytes = len(record.value or b"")
        if i > begin and size + n_bytes > max_bytes:
            part = batch.records[begin:i]
            upto = part[-1].offset + 1
            yield batch._replace(start=start, next=upto, records=part)
            start, begin, size = upto, i, 0
        size += n_bytes
    yield batch._replace(start=start, records=batch.records[begin:])


def events_per_key(batches: Sequence[RecordBatch], n_bytes: int) -> float:
    """Records of each key; infinite where records hold many events each, or there are none."""
    n_records = sum(len(batch.records) for batch in batches)
    if not n_records or n_bytes > _LARGE_BYTES * n_records:
        return math.inf
    return n_records / len(set().union(*(batch.distinct_keys() for batch in batches)))


def _by_partition(messages: Sequence[Message]) -> dict[int, Sequence[Message]]:
    partitions = cast("set[int]", set(map(Message.partition, messages)))
    if len(partitions) == 1:
        return {partitions.pop(): messages}
    found: dict[int, list[Message]] = {partition: [] for partition in partitions}
    for message in messages:
        found[cast("int", message.partition())].append(message)
    return dict(found)


def records_of(messages: Sequence[Message]) -> RecordColumns:
    """Messages as records; their headers are read when they are needed."""
    return RecordColumns(
        cast("list[int]", list(map(Message.offset, messages))),
        [time_ms for _, time_ms in map(Message.timestamp, messages)],
        [None] * len(messages),
        cast("list[bytes | None]", list(map(Message.value, messages))),
        cast("list[bytes | None]", list(map(Message.key, messages))),
        messages,
    )
