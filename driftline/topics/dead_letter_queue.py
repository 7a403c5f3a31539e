"""Read dead letters from their topic, and write the original records to the event topic again.

`read_dead_letters`, `read_original_records` and `requeue_records` use Kafka; the rest is pure.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from driftline.topics import topic_reader as reading
from driftline.topics.topic_reader import Record, TopicDecoder
from producer.cloudevents import event_headers
from producer.codec import RejectedRecord, encode, is_batch
from producer.events import CE_TYPE_OF, Command, InferenceEvent, ModelUpdate, Tick, Topology
from producer.limits import Limits
from stream_monitor.contracts import DEAD_LETTER_CE_TYPE, DeadLetter
from stream_monitor.ingest.decode import decode
from stream_monitor.ingest.event_columns import events_of_batch
from stream_monitor.ingest.records import ConsumerRecord, RecordBatch

CONTROL_TYPES: Final = frozenset(
    CE_TYPE_OF[kind] for kind in (ModelUpdate, Command, Topology, Tick)
)
_CONTROL_REASONS: Final = frozenset(
    {"unknown_episode", "invalid_profile", "invalid_command", "invalid_topology"}
)
POISON_RECORD: Final = "poison_record"
_POISON_REASONS: Final = frozenset({POISON_RECORD, "unreadable"})
IDLE_TIMEOUT_S: Final = 2.0
_FETCH_S: Final = 10.0
_WAIT_S: Final = 0.2
_FETCHED: Final = 1_000
_MAX_GAP_OFFSETS: Final = 5_000


class DeadLetterFilter(NamedTuple):
    """A condition on dead letters; ``None``, or no ``ids`` (positions), is no condition."""

    model: str | None = None
    reason: str | None = None
    producer: str | None = None
    since_ms: int | None = None
    ids: frozenset[str] = frozenset()

    def has(self, dead_letter: DeadLetter) -> bool:
        """Whether a dead letter meets the condition."""
        return (
            self.model in (None, dead_letter.model)
            and self.reason in (None, dead_letter.reason)
            and self.producer in (None, dead_letter.source)
            and (self.since_ms is None or dead_letter.timestamp_ms >= self.since_ms)
            and (not self.ids or dead_letter.dead_letter_id in self.ids)
        )


class DeadLetterGroup(NamedTuple):
    """Dead letters of one model, reason and producer: their number ``n``, and the latest one."""

    model: str
    reason: str
    source: str
    n: int
    example: DeadLetter


def read_dead_letters(client: Mapping[str, Any], topic: str) -> tuple[list[DeadLetter], list[str]]:
    """All dead letters, each once, in the order of the topic, and a note on unreadable records.

    Raises:
        MissingTopicError: the topic does not exist.
    """
    values = TopicDecoder(topic, DeadLetter, kind=DEAD_LETTER_CE_TYPE)
    found: dict[str, DeadLetter] = {}
    with reading.TopicReader(client, topic) as reader:
        records = reader.read_until(lambda: False, idle_timeout_s=IDLE_TIMEOUT_S)
        for dead_letter in values.values(records):
            found.setdefault(dead_letter.dead_letter_id, dead_letter)
    return list(found.values()), values.notes()


def group_dead_letters(dead_letters: Iterable[DeadLetter]) -> list[DeadLetterGroup]:
    """Groups by model, reason and producer, the largest first."""
    counts: Counter[tuple[str, str, str]] = Counter()
    latest: dict[tuple[str, str, str], DeadLetter] = {}
    for dead_letter in dead_letters:
        key = dead_letter.model, dead_letter.reason, dead_letter.source
        counts[key] += 1
        latest[key] = dead_letter
    return [DeadLetterGroup(*key, n, latest[key]) for key, n in counts.most_common()]


def reason_not_requeued(dead_letter: DeadLetter, topic: str) -> str | None:
    """Why the original of a dead letter is never written again; ``None``: it can be."""
    if dead_letter.topic != topic:
        return (
            f"the record is in {dead_letter.topic}, not in the event topic: correct it there, and "
            "`driftline forward` reads the correction"
        )
    if dead_letter.reason in _POISON_REASONS:
        return f"{dead_letter.reason}: workers ended while they read the record"
    if dead_letter.reason in _CONTROL_REASONS:
        return f"{dead_letter.reason}: a control record; repeat the command instead"
    return None


def reason_not_accepted(
    record: Record, dead_letter: DeadLetter, now_ms: int, limits: Limits
) -> str | None:
    """Why the monitor would reject the original record again; ``None``: it would accept it."""
    if record.kind in CONTROL_TYPES:
        return f"{record.kind}: a control record; repeat the command instead"
    as_read = ConsumerRecord(record.offset, now_ms, record.kind, record.value, key=record.key)
    batch = RecordBatch(
        dead_letter.topic, dead_letter.partition, "", record.offset, record.offset + 1, [as_read]
    )
    for rejected in decode(batch, limits).dead_letters:
        return f"it would be rejected again ({rejected.reason}): {rejected.detail}"
    return None


def read_original_records(
    client: Mapping[str, Any], dead_letters: Iterable[DeadLetter]
) -> dict[str, Record | None]:
    """The original records by the id of their dead letter; ``None``: no longer in the topic."""
    from confluent_kafka import TopicPartition  # noqa: PLC0415 - pure parts need none

    from producer.kafka_client import consumer_of  # noqa: PLC0415

    found: dict[str, Record | None] = {}
    by_partition: dict[tuple[str, int], dict[int, list[DeadLetter]]] = {}
    for each in dead_letters:
        found[each.dead_letter_id] = None
        of_partition = by_partition.setdefault((each.topic, each.partition), {})
        of_partition.setdefault(each.offset, []).append(each)
    consumer = consumer_of(client, required={"auto.offset.reset": "error"})
    try:
        for (topic, partition), wanted in by_partition.items():
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), _FETCH_S)
            for first, last in offset_ranges(offset for offset in wanted if low <= offset < high):
                consumer.assign([TopicPartition(topic, partition, first)])
                at, deadline = first, time.monotonic() + _FETCH_S
                while at <= last and time.monotonic() < deadline:
                    # `consume` waits until it has so many records, or for the whole timeout.
                    for message in consumer.consume(_FETCHED, _WAIT_S):
                        if message.error() is not None:
                            continue
                        record = reading.as_record(message)
                        at, deadline = record.offset + 1, time.monotonic() + _FETCH_S
                        for each in wanted.get(record.offset, ()):
                            found[each.dead_letter_id] = original_of(record, each)
    finally:
        consumer.close()
    return found


def records_to_requeue(
    record: Record | None,
    dead_letter: DeadLetter,
    topic: str,
    now_ms: int,
    limits: Limits,
    *,
    force: bool,
) -> list[Record] | str:
    """The records to write for a dead letter with this original, or why there are none.

    With ``force`` also a record that would be rejected again.
    """
    why = reason_not_requeued(dead_letter, topic)
    if why is not None:
        if record is None or dead_letter.reason != POISON_RECORD:
            return why
        return records_of_rows(record) or why
    if record is None:
        return f"{topic} no longer holds the record, and a dead letter does not hold its headers"
    why = reason_not_accepted(record, dead_letter, now_ms, limits)
    if why is not None and not (force and record.kind not in CONTROL_TYPES):
        return why
    return [record]


def records_of_rows(record: Record) -> list[Record]:
    """The events of a batch as records of their own; none if the record is no batch.

    A poison record is skipped whole.  Of these only the event that ends workers is skipped again.
    """
    if not is_batch(record.value):
        return []
    try:
        events = events_of_batch(record.value or b"")
    except RejectedRecord:
        return []
    return [_as_record(record, event) for event in events if event is not None]


def original_of(record: Record, dead_letter: DeadLetter) -> Record:
    """Return the record to write again: of a row, its event, or no value if it is unreadable."""
    if dead_letter.row is None:
        return record
    try:
        event = events_of_batch(record.value or b"")[dead_letter.row]
    except (RejectedRecord, IndexError):
        event = None
    return record._replace(value=None) if event is None else _as_record(record, event)


def _as_record(batch: Record, event: InferenceEvent) -> Record:
    """An event of a batch as a record of its own."""
    pairs = event_headers(event, source=batch.source)
    headers = [(name, _as_bytes(value)) for name, value in pairs]
    return batch._replace(kind=CE_TYPE_OF[InferenceEvent], value=encode(event), headers=headers)


def _as_bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def offset_ranges(offsets: Iterable[int]) -> list[tuple[int, int]]:
    """The ranges to read, as first and last offset; a new range costs more than a small gap.

    >>> offset_ranges([7, 3, 20_000, 20_001])
    [(3, 7), (20000, 20001)]
    """
    found: list[tuple[int, int]] = []
    for offset in sorted(offsets):
        if found and offset - found[-1][1] <= _MAX_GAP_OFFSETS:
            found[-1] = found[-1][0], offset
        else:
            found.append((offset, offset))
    return found


def requeue_records(client: Mapping[str, Any], topic: str, records: Sequence[Record]) -> list[str]:
    """Write records to the event topic with their original key, headers and value.

    A record with a key goes to the present partition of that key, another one to its old partition.
    Returns a line for each record that Kafka did not acknowledge.
    """
    from producer.kafka_client import producer_of  # noqa: PLC0415 - pure parts need none

    failures: list[str] = []

    def on_delivery(position: str, error: Any, _message: object) -> None:
        if error is not None:
            failures.append(f"{position}: {error.str()}")

    producer = producer_of(client)
    for record in records:
        position = f"{record.partition}:{record.offset}"
        producer.produce(
            topic,
            record.value,
            key=record.key,
            headers=list(record.headers),
            partition=record.partition if record.key is None else -1,
            on_delivery=partial(on_delivery, position),
        )
        producer.poll(0)
    left = producer.flush(60.0)
    return failures + ([f"{left} records: no answer within 60 s"] if left else [])
