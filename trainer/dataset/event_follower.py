"""Follows partitions of the event topic with a standalone consumer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from producer.cloudevents import ce_type_of
from producer.codec import RejectedRecord
from producer.events import Event, InferenceEvent, Label
from producer.kafka_client import consumer_of
from producer.permission import explained_denial, is_of_unused_group
from stream_monitor.ingest.event_columns import events_in
from trainer.dataset.range_reader import (
    MAX_FETCH_ATTEMPTS,
    MAX_FUTURE_SKEW_MS,
    METADATA_TIMEOUT_S,
    lags_of,
    partitions_of_topic,
)

BATCH_RECORDS: Final = 2_000
_QUEUED_KBYTES: Final = 16_384


class FollowedRecord(NamedTuple):
    """A record of the event topic, or a ``row`` of a batch.

    ``event`` is None if it is not an event or a label.
    """

    partition: int
    offset: int
    append_ms: int
    event: InferenceEvent | Label | None
    row: int = 0


class EventFollower:
    """Reads partitions of ``topic`` from given offsets on, without end.

    Where retention removed the offset, reading begins at the oldest record left.  A record of a
    corrupt batch is skipped after `MAX_FETCH_ATTEMPTS`.

    Raises:
        KafkaException: Kafka does not answer, or there is no such topic.
    """

    def __init__(self, client: Mapping[str, Any], topic: str, starts: Mapping[int, int]) -> None:
        self._client, self._topic = client, topic
        self._unreadable: Counter[tuple[int, int]] = Counter()
        self._next = dict(starts)
        self._paused: set[int] = set()
        self._consumer = consumer_of(
            client, required={"queued.max.messages.kbytes": _QUEUED_KBYTES}
        )
        self._consumer.assign([TopicPartition(topic, p, offset) for p, offset in starts.items()])

    def poll(self, timeout_s: float) -> list[FollowedRecord]:
        """Return the next records; an empty list after ``timeout_s`` without any."""
        found: list[FollowedRecord] = []
        with_error: set[int] = set()
        for message in self._consumer.consume(BATCH_RECORDS, timeout_s):
            found += self._records(message, with_error)
        return found

    def pause(self, partitions: set[int]) -> None:
        """Stop reading these partitions, and continue with all others."""
        for change, places in (
            (self._consumer.pause, partitions - self._paused),
            (self._consumer.resume, self._paused - partitions),
        ):
            if places:
                change([TopicPartition(self._topic, p) for p in sorted(places)])
        self._paused = set(partitions)

    def lags(self) -> dict[int, int]:
        """Return the number of records not read yet by partition, as of the last fetch."""
        return lags_of(self._consumer, self._topic, self._next)

    def _records(self, message: Message, with_error: set[int]) -> list[FollowedRecord]:
        """Return the events of a message; ``with_error`` are partitions with an error before it."""
        partition, offset, error = message.partition(), message.offset(), message.error()
        if error is not None and is_of_unused_group(error):
            return []
        if error is not None and error.code() != KafkaError._BAD_COMPRESSION:  # noqa: SLF001 - its public name
            topic = f"topic {self._topic}"
            raise KafkaException(explained_denial(error, "Read", topic, self._client))
        if partition is None or offset is None:
            return []
        if error is not None:
            if partition not in with_error:  # one error of a fetch may be repeated
                with_error.add(partition)
                self._skip_unreadable(partition, offset)
            return []
        self._next[partition] = offset + 1
        stamped_ms = max(message.timestamp()[1], 0)
        return [
            FollowedRecord(partition, offset, stamped_ms, event, row)
            for row, event in enumerate(_events(message, stamped_ms))
        ]

    def _skip_unreadable(self, partition: int, batch: int) -> None:
        position = max(batch, self._next[partition])
        self._unreadable[partition, batch] += 1
        if self._unreadable[partition, batch] >= MAX_FETCH_ATTEMPTS:
            self._next[partition] = position + 1
            self._consumer.seek(TopicPartition(self._topic, partition, position + 1))


def _events(message: Message, stamped_ms: int) -> list[InferenceEvent | Label | None]:
    try:
        events = events_in(message.value() or b"", ce_type_of(message))
    except RejectedRecord:
        return [None]
    return [_followed(event, stamped_ms) for event in events]


def _followed(event: Event | None, stamped_ms: int) -> InferenceEvent | Label | None:
    """The event if it is followed; ``None`` for all others."""
    if not isinstance(event, InferenceEvent | Label):
        return None
    if isinstance(event, InferenceEvent) and event.shadow:  # the event in service has the features
        return None
    return event if 0 <= event.time_ms <= stamped_ms + MAX_FUTURE_SKEW_MS else None


def start_offsets(client: Mapping[str, Any], topic: str, lookback_records: int) -> dict[int, int]:
    """Return, for each partition, the offset ``lookback_records`` before its end.

    Raises:
        KafkaException: Kafka does not answer, or there is no such topic.
    """
    consumer = consumer_of(client)
    try:
        found = {}
        for p in partitions_of_topic(consumer, topic):
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, p), METADATA_TIMEOUT_S)
            found[p] = max(low, high - lookback_records, 0)
        return found
    finally:
        consumer.close()
