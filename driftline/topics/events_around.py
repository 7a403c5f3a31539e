"""Read a few events of a model before and after a position of the event topic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from confluent_kafka import KafkaException, TopicPartition

from driftline.topics.topic_reader import METADATA_TIMEOUT_S, as_record
from producer.codec import RejectedRecord
from producer.events import InferenceEvent
from producer.kafka_client import consumer_of
from stream_monitor.ingest.event_columns import events_in

N_RECORDS: Final = 400
"""How many records are read on each side."""
_TIMEOUT_S: Final = 2.0


class EventAt(NamedTuple):
    """An event and its offset."""

    offset: int
    event: InferenceEvent


class EventsAround(NamedTuple):
    """The events before a position, and those from it on, each in ascending order.

    ``deleted``: records before the position were removed by retention.
    """

    before: list[EventAt]
    after: list[EventAt]
    deleted: bool


def read_events_around(
    client: Mapping[str, Any],
    topic: str,
    partition: int,
    offset: int,
    *,
    model: str,
    version: str,
    n_each: int,
    n_records: int = N_RECORDS,
) -> EventsAround:
    """The last ``n_each`` events of a version before ``offset``, and the first ones from it on.

    Records further away than ``n_records`` are not read.

    Raises:
        KafkaException: no broker answers, or Kafka denies a permission.
    """
    consumer = consumer_of({"log_level": 0, **client})
    try:
        place = TopicPartition(topic, partition)
        low, high = consumer.get_watermark_offsets(place, METADATA_TIMEOUT_S)
        first, end = max(low, offset - n_records), min(high, offset + n_records)
        found: list[EventAt] = []
        if first < end:
            consumer.assign([TopicPartition(topic, partition, first)])
        position = first
        while position < end:
            messages = consumer.consume(2 * n_records, _TIMEOUT_S)
            if not messages:
                break
            for message in messages:
                error = message.error()
                if error is not None:
                    raise KafkaException(error)
                record = as_record(message)
                position = record.offset + 1
                try:
                    events = events_in(record.value or b"", record.kind)
                except RejectedRecord:
                    continue
                found += [
                    EventAt(record.offset, event)
                    for event in events
                    if isinstance(event, InferenceEvent)
                    and (event.model, event.version) == (model, version)
                ]
    finally:
        consumer.close()
    before = [each for each in found if each.offset < offset][-n_each:]
    after = [each for each in found if each.offset >= offset][:n_each]
    return EventsAround(before, after, deleted=first > max(0, offset - n_records))
