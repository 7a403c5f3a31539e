"""Read offset ranges of the event topic with a standalone consumer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from producer.cloudevents import ce_source_of, headers_of
from producer.codec import RejectedRecord
from producer.events import Event, InferenceEvent, Label
from producer.kafka_client import consumer_of
from producer.permission import explained_denial, is_of_unused_group
from stream_monitor.ingest.event_columns import events_in
from trainer.dataset.collector import Collector
from trainer.policy.offset_ranges import OffsetRange

BATCH_RECORDS: Final = 5_000
BATCH_FILL_S: Final = 0.05
"""How long a batch may fill after its first record."""
MAX_FUTURE_SKEW_MS: Final = 24 * 3_600_000
"""How far event time may be ahead of the record's timestamp; later events are rejected."""
MAX_FETCH_ATTEMPTS: Final = 3
"""Fetches of a corrupt batch before the record at the position is skipped."""
METADATA_TIMEOUT_S: Final = 10.0
FIRST_RECORD_TIMEOUT_S: Final = 5.0
"""How long the first record may take, until the consumer is connected."""


class ReadRange(NamedTuple):
    """Offsets ``[start, end)`` of a partition; with ``end`` None reading follows the partition."""

    partition: int
    start: int
    end: int | None = None


class RangeReader:
    """Adds the events of offset ranges of the event topic to a `Collector`.

    Where retention removed the start of a range, reading begins at the oldest record left.  A
    record of a corrupt batch and an event too far in the future are skipped and count as rejected.
    Use it as a context manager, and not after it raised: it may have lost fetched records.

    Raises:
        KafkaException: Kafka does not answer, or there is no such topic.
    """

    def __init__(
        self,
        client: Mapping[str, Any],
        topic: str,
        ranges: Sequence[ReadRange],
        collector: Collector,
    ) -> None:
        self.collector = collector
        self.read = 0
        self.rejected = 0
        self._client, self._topic = client, topic
        self._ends = {part.partition: part.end for part in ranges}
        self._starts = {part.partition: part.start for part in ranges}
        self._next: dict[int, int] = {}
        self._unreadable: Counter[tuple[int, int]] = Counter()
        self._open = {
            part.partition for part in ranges if part.end is None or part.start < part.end
        }
        self._consumer = consumer_of(client)
        self._consumer.assign([TopicPartition(topic, p, self._starts[p]) for p in self._open])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close()

    def pause(self) -> None:
        """Stop fetching between steps, so that a fetch can crash only a step that reads."""
        self._consumer.pause([TopicPartition(self._topic, p) for p in self._open])

    def resume(self) -> None:
        """Continue fetching."""
        self._consumer.resume([TopicPartition(self._topic, p) for p in self._open])

    def poll(self, timeout_s: float) -> bool:
        """Read a batch; return whether more records are known to exist.

        ``False``: everything is read that the broker had when the batch was requested, or no record
        came within ``timeout_s``.  The second condition is needed because an embedded broker may
        report an end offset that is too high.
        """
        if not self._open:
            return False
        ends = {p: self._end(p) for p in self._open}
        first = self._consumer.consume(1, timeout_s if self.read else FIRST_RECORD_TIMEOUT_S)
        rest = self._consumer.consume(BATCH_RECORDS - 1, BATCH_FILL_S) if first else []
        partitions_with_error: set[int] = set()
        for message in (*first, *rest):
            self._handle(message, partitions_with_error)
        if not first or not self._open:
            return False
        behind = any(self._next.get(p, self._starts[p]) < ends[p] for p in self._open)
        return behind or len(rest) == BATCH_RECORDS - 1

    def _end(self, partition: int) -> int:
        """Return the end offset of a partition as of the last fetch."""
        place = TopicPartition(self._topic, partition)
        known: tuple[int, int] | None = self._consumer.get_watermark_offsets(place, cached=True)
        return known[1] if known is not None else 0

    @property
    def at_end(self) -> bool:
        """Whether all partitions are read to their end offsets as of the last fetch."""
        return all(0 < self._end(p) <= self._next.get(p, self._starts[p]) for p in self._open)

    @property
    def done(self) -> bool:
        """Whether every range with an end is read to it."""
        return not self._open

    def ranges(self) -> list[OffsetRange]:
        """Return the ranges that were read so far."""
        return [
            OffsetRange(partition=p, start=start, end=self._next.get(p, start))
            for p, start in sorted(self._starts.items())
        ]

    def _handle(self, message: Message, partitions_with_error: set[int]) -> None:
        """Handle a message; ``partitions_with_error`` had an error in this batch already."""
        partition, offset = message.partition(), message.offset()
        error = message.error()
        if error is not None and is_of_unused_group(error):
            return
        if error is not None and error.code() != KafkaError._BAD_COMPRESSION:  # noqa: SLF001 - its public name
            topic = f"topic {self._topic}"
            raise KafkaException(explained_denial(error, "Read", topic, self._client))
        if partition is None or offset is None or partition not in self._open:
            return
        if error is not None:
            if partition not in partitions_with_error:  # one error of a fetch may be repeated
                partitions_with_error.add(partition)
                self._on_unreadable(partition, offset)
            return
        end = self._ends[partition]
        if end is not None and offset >= end:
            self._close(partition)
            return
        if partition not in self._next:
            self._starts[partition] = offset
        self._next[partition] = offset + 1
        self.read += 1
        self._collect(message)
        if end is not None and offset + 1 >= end:
            self._close(partition)

    def _collect(self, message: Message) -> None:
        try:
            headers = headers_of(message)
            ce_type = headers.get("ce_type")
            kind = None if ce_type is None else ce_type.decode("utf-8", "replace")
            events = events_in(message.value() or b"", kind)
        except RejectedRecord:
            self.rejected += 1
            return
        for event in events:
            self._collect_event(event, max(message.timestamp()[1], 0), ce_source_of(headers))

    def _collect_event(self, event: Event | None, stamped_ms: int, source: str) -> None:
        if event is None:
            self.rejected += 1
            return
        if not isinstance(event, InferenceEvent | Label):
            return
        if 0 <= event.time_ms <= stamped_ms + MAX_FUTURE_SKEW_MS:
            self.collector.add(event, source)
        else:
            self.rejected += 1

    def _on_unreadable(self, partition: int, batch: int) -> None:
        """Skip a record of a corrupt batch after `MAX_FETCH_ATTEMPTS`, as the monitor does.

        ``batch`` is the offset of the batch; after the limit each further error skips one record.
        """
        position = max(batch, self._next.get(partition, self._starts[partition]))
        self._unreadable[partition, batch] += 1
        if self._unreadable[partition, batch] < MAX_FETCH_ATTEMPTS:
            return
        if partition not in self._next:
            self._starts[partition] = position
        self.read += 1
        self.rejected += 1
        self._next[partition] = position + 1
        end = self._ends[partition]
        if end is not None and position + 1 >= end:
            self._close(partition)
        else:
            self._consumer.seek(TopicPartition(self._topic, partition, position + 1))

    def _close(self, partition: int) -> None:
        self._open.discard(partition)
        self._consumer.pause([TopicPartition(self._topic, partition)])


def end_offsets(client: Mapping[str, Any], topic: str) -> dict[int, int]:
    """Return the end offset of each partition, as the broker reports it.

    Raises:
        KafkaException: Kafka does not answer, or there is no such topic.
    """
    consumer = consumer_of(client)
    try:
        return {
            p: consumer.get_watermark_offsets(TopicPartition(topic, p), METADATA_TIMEOUT_S)[1]
            for p in partitions_of_topic(consumer, topic)
        }
    finally:
        consumer.close()


def partitions_of_topic(consumer: Consumer, topic: str) -> list[int]:
    """Return the partitions of a topic, sorted.

    Raises:
        KafkaException: Kafka does not answer, or there is no such topic.
    """
    found = consumer.list_topics(topic, timeout=METADATA_TIMEOUT_S).topics[topic]
    if found.error is not None:
        raise KafkaException(found.error)
    return sorted(found.partitions)


def lags_of(consumer: Consumer, topic: str, positions: Mapping[int, int]) -> dict[int, int]:
    """Return the number of records after each position, as of the last fetch of the partition."""
    lags = {}
    for partition, position in positions.items():
        known = consumer.get_watermark_offsets(TopicPartition(topic, partition), cached=True)
        if known is not None and known[1] >= 0:
            lags[partition] = max(0, known[1] - max(position, known[0], 0))
    return lags
