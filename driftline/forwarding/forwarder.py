"""The forwarder: copies records of another topic into the event topic, at least once.

It commits a position only when every record before it is acknowledged, on the event topic or as a
dead letter.  Records that are written twice after a crash have the same id and count once.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition
from msgspec import UNSET
from msgspec.structs import replace

from driftline.forwarding.mapping import FieldMap, event_of
from driftline.topics.topic_reader import MissingTopicError
from producer.cloudevents import ce_type_of
from producer.codec import RejectedRecord, is_batch
from producer.events import Event, InferenceEvent
from producer.failpoints import failpoint
from producer.kafka_client import consumer_of, producer_of
from producer.limits import Limits
from producer.names import escape
from producer.permission import explained_denial, is_denied
from producer.validation import EventValidator
from producer.writer import DeliveryError, EventTooLarge, EventWriter
from stream_monitor.ingest.event_columns import events_of_batch
from stream_monitor.ingest.records import ConsumerRecord
from stream_monitor.ingest.rejection import build_dead_letter
from stream_monitor.runtime.dead_letter_limit import RecentRejections
from stream_monitor.runtime.outbound_records import dead_letter_record
from stream_monitor.settings import DeadLetterSettings

BATCH: Final = 1_000
POLL_S: Final = 0.5
FLUSH_S: Final = 60.0
_LIMITS: Final = Limits()
_MAX_PAYLOAD_BYTES: Final = 4_096
LIMIT: Final = DeadLetterSettings(max_consecutive=1_000, max_ratio=0.05)
"""More rejected records mean that the options do not describe the source."""
_MAX_NAMED: Final = 100
_Place: TypeAlias = tuple[int, int | None]
"""An event: the index of its record among those of a fetch, and its row in a batch."""


class TooManyRejectedError(RuntimeError):
    """Too many records were rejected: the source or its description must be wrong."""


class Rejection(NamedTuple):
    """The reason why a record was rejected."""

    reason: str
    detail: str


class Forwarded(NamedTuple):
    """The numbers of forwarded and rejected records so far."""

    events: int = 0
    rejected: int = 0


def group_of(prefix: str, source: str, fields: FieldMap | None) -> str:
    """The consumer group of a forwarder; forwarders of other kinds or models have other groups.

    Names of topics contain no colon, so the names of two groups differ.

    >>> group_of("staging", "warehouse", FieldMap(kind="label", model="churn"))
    'driftline.forward.staging:warehouse:label:churn'
    """
    if fields is None:
        return f"driftline.forward.{prefix}:{source}"
    model = "" if fields.model_field else f":{escape(fields.model)}"
    return f"driftline.forward.{prefix}:{source}:{fields.kind}{model}"


class Forwarder:
    """Forwards one topic as a member of a consumer group.

    Up to as many forwarders as the topic has partitions share the work.  ``ignored_fields`` counts
    fields with lists or objects that are not features, ``without_prediction`` the forwarded events
    without a prediction; ``last_rejection`` is the reason of the last rejected record.

    Raises:
        MissingTopicError: the topic does not exist.
        KafkaException: no broker answers, or Kafka denies a permission.
    """

    def __init__(
        self,
        client: Mapping[str, Any],
        source: str,
        *,
        group: str,
        prefix: str,
        dead_letters: str,
        fields: FieldMap | None,
        shards: int = 1,
        limit: DeadLetterSettings = LIMIT,
    ) -> None:
        self._source, self._dead_letters = source, dead_letters
        self._client, self._group = client, group
        self._fields = fields
        self._limit = limit
        self._rejections = RecentRejections()
        self._consumer = consumer_of(client, group=group, required={"enable.partition.eof": True})
        found = self._consumer.list_topics(source, timeout=10).topics[source]
        if found.error is not None and is_denied(found.error):
            self._consumer.close()
            raise KafkaException(
                explained_denial(found.error, "Describe", f"topic {source}", client)
            )
        if found.error is not None or not found.partitions:
            self._consumer.close()
            raise MissingTopicError(source)
        self._partitions = frozenset(found.partitions)
        self._at_end: set[int] = set()
        self._writer = EventWriter(
            client["bootstrap.servers"],
            topic_prefix=prefix,
            shards=shards,
            source=f"/driftline/forward/{source}",
            librdkafka=client,
        )
        self._dead_letter_producer = producer_of(client)
        self._dead_letter_error = ""
        self._validator = EventValidator(_LIMITS)
        self._consumer.subscribe([source])
        self.forwarded = Forwarded()
        self.ignored_fields: Counter[str] = Counter()
        self.without_prediction = 0
        self.last_rejection = ""

    def forward_batches(self) -> Iterator[bool]:
        """Forward batch after batch; yields after each whether the end of the topic is reached.

        Raises:
            DeliveryError: Kafka did not acknowledge a record; the batch is not committed.
            TooManyRejectedError: too many records were rejected; the batch is not committed.
        """
        while True:
            self._forward_batch()
            yield self._at_end >= self._partitions

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()

    def _forward_batch(self) -> None:
        records: list[Message] = []
        for message in self._consumer.consume(BATCH, POLL_S):
            error = message.error()
            if error is None:
                records.append(message)
                self._at_end.discard(message.partition() or 0)
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
                self._at_end.add(message.partition() or 0)
            elif error.fatal() or not error.retriable():
                of_group = error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED
                resource = f"group {self._group}" if of_group else f"topic {self._source}"
                raise KafkaException(explained_denial(error, "Read", resource, self._client))
        if not records:
            return
        rows, rejected = self._write(records)
        seen = [ConsumerRecord(i, 0, None, None) for i in range(len(records))]
        self._rejections = self._rejections.after(seen, rejected, self._limit.window_records, rows)
        enough = self._rejections.limit_exceeded(self._limit)
        if enough is not None:
            raise TooManyRejectedError(enough)
        for (i, row), why in rejected.items():
            self.last_rejection = f"{why.reason}: {why.detail}"
            self._write_dead_letter(records[i], row, why)
        if self._dead_letter_producer.flush(FLUSH_S) or self._dead_letter_error:
            raise DeliveryError(
                f"dead letters did not arrive: {self._dead_letter_error or 'no answer'}"
            )
        failpoint("forwarder.batch.written")
        with contextlib.suppress(KafkaException):  # after a rebalance another member repeats it
            self._consumer.commit(offsets=_next(records), asynchronous=False)
        events, n_rejected = self.forwarded
        n_written = rows.total() - len(rejected)
        self.forwarded = Forwarded(events + n_written, n_rejected + len(rejected))

    def _write(self, records: list[Message]) -> tuple[Counter[int], dict[_Place, Rejection]]:
        """Write the events of the records; returns the number of each, and the rejected ones.

        Kafka rejects a whole batch for its size, so its events are written again one by one, to
        find the one that is too large.
        """
        rejected: dict[_Place, Rejection] = {}
        to_retry: list[tuple[_Place, Event]] = []
        inputs_only: set[_Place] = set()
        rows: Counter[int] = Counter()

        def reject(place: _Place, why: str) -> None:
            rejected[place] = Rejection("too_large", why)

        def retry_alone(place: _Place, event: Event, _why: str) -> None:
            to_retry.append((place, event))

        for i, message in enumerate(records):
            for row, read in self._events(message):
                place = i, row
                rows[i] += 1
                try:
                    event = read()
                    if isinstance(event, InferenceEvent) and event.prediction is UNSET:
                        inputs_only.add(place)
                    if row is not None or (
                        len(message.value() or b"") <= _LIMITS.max_value_bytes
                    ):  # the writer rejects a larger one
                        self._validator.validate(replace(event), time.time_ns() // 1_000_000)
                    self._writer.write(event, on_too_large=partial(retry_alone, place, event))
                except RejectedRecord as why:
                    rejected[place] = Rejection(why.reason, str(why))
                except EventTooLarge as why:
                    reject(place, str(why))
        self._writer.flush(FLUSH_S)
        for place, event in to_retry:
            self._writer.write(event, on_too_large=partial(reject, place))
            self._writer.flush(FLUSH_S)
        self.without_prediction += len(inputs_only - rejected.keys())
        return rows, rejected

    def _events(self, message: Message) -> list[tuple[int | None, Callable[[], Event]]]:
        """How to read each event of a record, with its row in a batch."""
        value = message.value() or b""
        if self._fields is not None or not is_batch(value):
            return [(None, partial(self._event, message))]
        try:
            events = events_of_batch(value)
        except RejectedRecord as why:
            return [(None, partial(_raise, why))]
        return [(row, partial(_of_row, event)) for row, event in enumerate(events)]

    def _event(self, message: Message) -> Event:
        record = _record(message)
        position = f"{self._source}:{message.partition()}:{record.offset}"
        return event_of(
            record.value,
            record.kind,
            self._fields,
            position=position,
            time_ms=record.timestamp_ms,
            on_ignored_field=self._count_ignored_field,
        )

    def _count_ignored_field(self, name: str) -> None:
        if name in self.ignored_fields or len(self.ignored_fields) < _MAX_NAMED:
            self.ignored_fields[name] += 1

    def _write_dead_letter(self, message: Message, row: int | None, why: Rejection) -> None:
        """Write the dead letter of a record, or of a row of a batch."""
        dead_letter = build_dead_letter(
            self._source, message.partition() or 0, _record(message), *why, _MAX_PAYLOAD_BYTES
        )
        dead_letter = replace(dead_letter, row=row)
        value, headers = dead_letter_record(dead_letter)
        self._dead_letter_producer.produce(
            self._dead_letters, value, headers=headers, on_delivery=self._on_dead_letter_delivery
        )
        self._dead_letter_producer.poll(0)

    def _on_dead_letter_delivery(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            resource = f"topic {self._dead_letters}"
            explained = explained_denial(error, "Write", resource, self._client)
            self._dead_letter_error = explained.str()


def _of_row(event: InferenceEvent | None) -> Event:
    if event is None:
        raise RejectedRecord("invalid_event", "the row has no id, no time, or no valid Unicode")
    return event


def _raise(why: RejectedRecord) -> Event:
    raise why


def _record(message: Message) -> ConsumerRecord:
    offset, time_ms = message.offset() or 0, message.timestamp()[1]
    return ConsumerRecord(
        offset, time_ms, ce_type_of(message), message.value(), header_source=message
    )


def _next(records: list[Message]) -> list[TopicPartition]:
    """The position after the last record of each partition."""
    ends: dict[tuple[str, int], int] = {}
    for message in records:
        ends[message.topic() or "", message.partition() or 0] = (message.offset() or 0) + 1
    return [TopicPartition(topic, partition, end) for (topic, partition), end in ends.items()]
