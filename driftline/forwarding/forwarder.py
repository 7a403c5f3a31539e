"""The forwarder: reads a foreign topic, writes the log, commits last.

At least once: a position is committed only when all below it is acknowledged in the log or among
the dead letters.  What a crash lets it write again has the same id, and is removed by it.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from msgspec import UNSET
from msgspec.structs import replace

from driftline.forwarding.mapping import FieldMap, event_of
from producer.checks import Checks
from producer.codec import RefusedRecord
from producer.events import Event, InferenceEvent
from producer.failpoint import failpoint
from producer.headers import kind_of
from producer.limits import Limits
from producer.names import escape
from producer.permission import explained_denial, is_denied
from producer.writer import LogWriter, TooLarge, Undelivered
from stream_monitor.ingest.records import LogRecord
from stream_monitor.ingest.refusal import dead_letter
from stream_monitor.runtime import letters
from stream_monitor.runtime.dead_letter_limit import DeadLetterLimit, RecentRejections

BATCH: Final = 1_000
POLL_S: Final = 0.5
FLUSH_S: Final = 60.0
_LIMITS: Final = Limits()
_MAX_PAYLOAD_BYTES: Final = 4_096
LIMIT: Final = DeadLetterLimit(max_consecutive=1_000, max_ratio=0.05)
"""A source of which so much is rejected is mapped in the wrong way."""
_MAX_NAMED: Final = 100


class TooManyRefused(RuntimeError):  # noqa: N818 - says what happened
    """So many records were rejected that the source or the mapping must be wrong."""


class Refused(NamedTuple):
    """Why a record is not forwarded."""

    reason: str
    detail: str


class Forwarded(NamedTuple):
    """What became of the records so far."""

    events: int = 0
    refused: int = 0


def group_of(prefix: str, source: str, fields: FieldMap | None) -> str:
    """The consumer group of a forwarder: those that write other events of a source share none.

    No topic's name has a colon in it, so no two of them meet.

    >>> group_of("staging", "warehouse", FieldMap(kind="label", model="churn"))
    'driftline.forward.staging:warehouse:label:churn'
    """
    if fields is None:
        return f"driftline.forward.{prefix}:{source}"
    model = "" if fields.model_field else f":{escape(fields.model)}"
    return f"driftline.forward.{prefix}:{source}:{fields.kind}{model}"


class Forwarder:
    """Forwards one topic, as a member of a group: start as many as it has partitions.

    ``left_out`` counts fields that are neither features nor named otherwise, as lists;
    ``without_prediction`` counts the forwarded events that have no prediction;
    ``last_refusal`` says why the last rejected record was rejected.

    Raises:
        LookupError: there is no such topic.
        KafkaException: nobody answers.
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
        limit: DeadLetterLimit = LIMIT,
    ) -> None:
        self._source, self._dead_letters = source, dead_letters
        self._client, self._group = client, group
        self._fields = fields
        self._limit = limit
        self._rejections = RecentRejections()
        plain = {"log_level": 0, **client}
        self._consumer = Consumer({
            **plain, "group.id": group, "enable.auto.commit": False,
            "auto.offset.reset": "earliest", "isolation.level": "read_committed",
            "enable.partition.eof": True,
        })  # fmt: skip
        found = self._consumer.list_topics(source, timeout=10).topics[source]
        if found.error is not None and is_denied(found.error):
            self._consumer.close()
            raise KafkaException(
                explained_denial(found.error, "Describe", f"topic {source}", client)
            )
        if found.error is not None or not found.partitions:
            self._consumer.close()
            raise LookupError(f"there is no topic {source}")
        self._partitions = frozenset(found.partitions)
        self._at_end: set[int] = set()
        self._writer = LogWriter(
            plain.pop("bootstrap.servers"), topic_prefix=prefix, shards=shards,
            source=f"/driftline/forward/{source}", librdkafka=plain,
        )  # fmt: skip
        self._letters = Producer({**client, "log_level": 0, "enable.idempotence": True})
        self._lost_letters = ""
        self._checks = Checks(_LIMITS)
        self._consumer.subscribe([source])
        self.forwarded = Forwarded()
        self.left_out: Counter[str] = Counter()
        self.without_prediction = 0
        self.last_refusal = ""

    def rounds(self) -> Iterator[bool]:
        """Forward batch after batch; tells after each whether the end of the topic was reached.

        Raises:
            Undelivered: Kafka did not take it; what is not committed is read again.
            TooManyRefused: nothing of the batch is committed.
        """
        while True:
            self._round()
            yield self._at_end >= self._partitions

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()

    def _round(self) -> None:
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
        refused = self._write(records)
        seen = [LogRecord(i, 0, None, None) for i in range(len(records))]
        self._rejections = self._rejections.after(seen, refused, self._limit.window_records)
        enough = self._limit.broken_by(self._rejections)
        if enough is not None:
            raise TooManyRefused(enough)
        for i, why in sorted(refused.items()):
            self.last_refusal = f"{why.reason}: {why.detail}"
            self._complain(records[i], why)
        if self._letters.flush(FLUSH_S) or self._lost_letters:
            raise Undelivered(f"dead letters did not arrive: {self._lost_letters or 'no answer'}")
        failpoint("forwarder.batch.written")
        with contextlib.suppress(KafkaException):  # the group moved on: another reads it again
            self._consumer.commit(offsets=_next(records), asynchronous=False)
        events, n_refused = self.forwarded
        self.forwarded = Forwarded(events + len(records) - len(refused), n_refused + len(refused))

    def _write(self, records: list[Message]) -> dict[int, Refused]:
        """Have their events acknowledged in the log; answers which have none, or too large a one.

        A topic refuses whole batches for their size, so what was in one is written once more by
        itself: only the answer to that is of the record.
        """
        refused: dict[int, Refused] = {}
        in_doubt: list[tuple[int, Event]] = []
        inputs_only: set[int] = set()

        def refuse(i: int, why: str) -> None:
            refused[i] = Refused("too_large", why)

        def doubt(i: int, event: Event, _why: str) -> None:
            in_doubt.append((i, event))

        for i, message in enumerate(records):
            try:
                event = self._event(message)
                if isinstance(event, InferenceEvent) and event.prediction is UNSET:
                    inputs_only.add(i)
                if (
                    len(message.value() or b"") <= _LIMITS.max_value_bytes
                ):  # else the writer says it
                    self._checks.check(replace(event), time.time_ns() // 1_000_000)
                self._writer.write(event, on_too_large=partial(doubt, i, event))
            except RefusedRecord as why:
                refused[i] = Refused(why.reason, str(why))
            except TooLarge as why:
                refuse(i, str(why))
        self._writer.flush(FLUSH_S)
        for i, event in in_doubt:
            self._writer.write(event, on_too_large=partial(refuse, i))
            self._writer.flush(FLUSH_S)
        self.without_prediction += len(inputs_only - refused.keys())
        return refused

    def _event(self, message: Message) -> Event:
        record = _record(message)
        place = f"{self._source}:{message.partition()}:{record.offset}"
        return event_of(
            record.value, record.kind, self._fields, place=place, time_ms=record.timestamp_ms,
            on_left_out=self._leave_out,
        )  # fmt: skip

    def _leave_out(self, name: str) -> None:
        if name in self.left_out or len(self.left_out) < _MAX_NAMED:
            self.left_out[name] += 1

    def _complain(self, message: Message, why: Refused) -> None:
        """Write a record's dead letter."""
        letter = dead_letter(
            self._source, message.partition() or 0, _record(message), *why, _MAX_PAYLOAD_BYTES
        )  # fmt: skip
        value, headers = letters.dead_letter(letter)
        self._letters.produce(
            self._dead_letters, value, headers=headers, on_delivery=self._on_letter
        )
        self._letters.poll(0)

    def _on_letter(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            resource = f"topic {self._dead_letters}"
            told = explained_denial(error, "Write", resource, self._client)
            self._lost_letters = told.str()


def _record(message: Message) -> LogRecord:
    offset, time_ms = message.offset() or 0, message.timestamp()[1]
    return LogRecord(offset, time_ms, kind_of(message), message.value(), sent=message)


def _next(records: list[Message]) -> list[TopicPartition]:
    """The position after the last record of each partition."""
    ends: dict[tuple[str, int], int] = {}
    for message in records:
        ends[message.topic() or "", message.partition() or 0] = (message.offset() or 0) + 1
    return [TopicPartition(topic, partition, end) for (topic, partition), end in ends.items()]
