"""Read all partitions of a topic, without joining a consumer group, and decode its records.

Any producer with write access can write any bytes to a topic, and a compacted topic holds records
without a value: unreadable records are skipped and counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Generic, NamedTuple, Self, TypeVar

import msgspec
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, KafkaError, KafkaException, TopicPartition

from producer.cloudevents import header_list
from producer.kafka_client import connect_admin, consumer_of
from producer.permission import explained_denial, is_denied, is_of_unused_group

MAX_POLL_RECORDS: Final = 5_000
METADATA_TIMEOUT_S: Final = 5.0
PROBE_TIMEOUT_S: Final = 0.1
BEGINNING: Final[int] = OFFSET_BEGINNING
END: Final[int] = OFFSET_END
_TAIL: Final = -2000  # librdkafka's RD_KAFKA_OFFSET_TAIL_BASE


def tail(n_records: int) -> int:
    """The start position for the last ``n_records`` of each partition."""
    return _TAIL - n_records


class MissingTopicError(LookupError):
    """The cluster has no topic of that name."""

    def __init__(self, topic: str) -> None:
        super().__init__(f"there is no topic {topic}")


class Record(NamedTuple):
    """A record of a topic.  ``kind`` is its ``ce_type`` header."""

    partition: int
    offset: int
    kind: str | None
    value: bytes | None
    key: bytes | None = None
    timestamp_ms: int = 0
    headers: Sequence[tuple[str, bytes | None]] = ()

    @property
    def source(self) -> str:
        """The producer named in the header ``ce_source``; empty without one."""
        return (dict(self.headers).get("ce_source") or b"").decode("utf-8", "replace")


class TopicReader:
    """Reads all partitions of a topic, from `BEGINNING`, `END` or a `tail` on.

    Use as a context manager.  ``client`` is librdkafka's configuration.

    Raises:
        KafkaException: no broker answers, or Kafka denies a permission.
        MissingTopicError: the topic does not exist.
    """

    def __init__(self, client: Mapping[str, Any], topic: str, *, start: int = BEGINNING) -> None:
        self._consumer = consumer_of(client)
        self.topic = topic
        self._client = client
        try:
            self.partitions = self._partitions()
        except BaseException as error:
            self._consumer.close()
            if isinstance(error, KafkaException):
                connect_admin(client, PROBE_TIMEOUT_S)  # its error contains the reason
            raise
        self._consumer.assign([TopicPartition(topic, p, start) for p in self.partitions])

    def _partitions(self) -> list[int]:
        found = self._consumer.list_topics(self.topic, timeout=METADATA_TIMEOUT_S).topics[
            self.topic
        ]
        if found.error is not None and is_denied(found.error):
            raise self._explained(found.error, "Describe")
        if found.error is not None or not found.partitions:
            raise MissingTopicError(self.topic)
        return sorted(found.partitions)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close()

    def poll(self, timeout_s: float) -> list[Record]:
        """The next records; an empty list if none arrives within ``timeout_s`` seconds."""
        records = []
        for message in self._consumer.consume(MAX_POLL_RECORDS, timeout_s):
            error = message.error()
            if error is None:
                records.append(as_record(message))
            elif not is_of_unused_group(error):
                raise self._explained(error, "Read")
        return records

    def _explained(self, error: KafkaError, operation: str) -> KafkaException:
        topic = f"topic {self.topic}"
        return KafkaException(explained_denial(error, operation, topic, self._client))

    def ends(self) -> dict[int, int]:
        """The end offset of each partition, as the broker reports it."""
        ends = {}
        for partition in self.partitions:
            target = TopicPartition(self.topic, partition)
            _low, ends[partition] = self._consumer.get_watermark_offsets(target, METADATA_TIMEOUT_S)
        return ends

    def read_until(
        self, is_complete: Callable[[], bool], *, idle_timeout_s: float, settle_s: float = 0.3
    ) -> Iterator[Record]:
        """Records until ``is_complete`` is true and no record arrived for ``settle_s`` seconds.

        Ends in any case when no record arrived for ``idle_timeout_s`` seconds; the caller checks
        whether something is missing.
        """
        last = time.monotonic()
        while True:
            records = self.poll(min(settle_s, idle_timeout_s))
            if records:
                last = time.monotonic()
                yield from records
            elif is_complete() or time.monotonic() - last >= idle_timeout_s:
                return


def as_record(message: Any) -> Record:
    """A message of the Kafka client as a `Record`."""
    headers = header_list(message)
    kind = dict(headers).get("ce_type")
    return Record(
        partition=message.partition(),
        offset=message.offset(),
        kind=None if kind is None else kind.decode("utf-8", "replace"),
        value=message.value(),
        key=message.key(),
        timestamp_ms=message.timestamp()[1],
        headers=headers,
    )


def topic_ends(client: Mapping[str, Any], topic: str) -> dict[int, int]:
    """The end offset of each partition, as the broker reports it.

    Raises:
        KafkaException: no broker answers.
        MissingTopicError: the topic does not exist.
    """
    with TopicReader(client, topic) as reader:
        return reader.ends()


def timestamp_at(
    client: Mapping[str, Any], topic: str, partition: int, offset: int, timeout_s: float = 5.0
) -> int | None:
    """The append time (ms) of the first record from ``offset`` on, committed or not.

    ``None``: no record arrived within ``timeout_s`` seconds.
    """
    consumer = consumer_of(client, required={"isolation.level": "read_uncommitted"})
    try:
        consumer.assign([TopicPartition(topic, partition, offset)])
        message = consumer.poll(timeout_s)
        while message is not None and (error := message.error()) is not None:
            if not is_of_unused_group(error):
                return None
            message = consumer.poll(timeout_s)
        return None if message is None else message.timestamp()[1]
    finally:
        consumer.close()


_Value = TypeVar("_Value")
_OURS: Final = "io.driftline."


class TopicDecoder(Generic[_Value]):
    """Decodes records of ``topic`` one by one.

    ``kind`` is their ``ce_type``.  Records with another ``ce_type`` of driftline are no errors:
    they are skipped without being counted.
    """

    def __init__(self, topic: str, of: type[_Value], *, kind: str | None = None) -> None:
        self._topic, self._kind = topic, kind
        self._decode = msgspec.json.Decoder(of).decode
        self.skipped = 0
        self._first = ""

    def of(self, record: Record) -> _Value | None:
        """Decode the value of a record; ``None`` if the record is skipped."""
        kind = record.kind
        if self._kind is not None and kind not in (None, self._kind) and kind.startswith(_OURS):
            return None
        if record.value is None:
            self._skip(record, "it has no value")
            return None
        try:
            return self._decode(record.value)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            self._skip(record, str(error))
            return None

    def values(self, records: Iterable[Record]) -> Iterator[_Value]:
        """Decode the values of records; those of skipped records are left out."""
        return (value for record in records if (value := self.of(record)) is not None)

    def _skip(self, record: Record, why: str) -> None:
        self.skipped += 1
        self._first = self._first or f"partition {record.partition}, offset {record.offset}: {why}"

    def notes(self) -> list[str]:
        """Return a line about the skipped records, if there are any."""
        if not self.skipped:
            return []
        many = f"{self.skipped} record{'s' if self.skipped > 1 else ''}"
        return [f"{many} of {self._topic} could not be read and were skipped ({self._first})"]
