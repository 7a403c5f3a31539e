"""Dead letters: read from their topic, chosen, and written to the log again.

What may be written again is judged purely; `read_dead_letters`, `read_original_records` and
`requeue_records` read and write.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from driftline.topics import topic_reader as reading
from driftline.topics.topic_decoder import TopicDecoder
from driftline.topics.topic_reader import Record
from producer.events import CE_TYPE_OF, Command, ModelUpdate, Tick, Topology
from producer.limits import Limits
from stream_monitor.contracts import DEAD_LETTER_CE_TYPE, DeadLetter
from stream_monitor.ingest.decode import decode
from stream_monitor.ingest.records import ConsumerRecord, RecordBatch

CONTROL_TYPES: Final = frozenset(
    CE_TYPE_OF[kind] for kind in (ModelUpdate, Command, Topology, Tick)
)
_CONTROL_REASONS: Final = frozenset(
    {"unknown_episode", "invalid_profile", "invalid_command", "invalid_topology"}
)
_POISON_REASONS: Final = frozenset({"poison_record", "unreadable"})
IDLE_TIMEOUT_S: Final = 2.0
_FETCH_S: Final = 10.0
_WAIT_S: Final = 0.2
_FETCHED: Final = 1_000
_MAX_GAP_OFFSETS: Final = 5_000


class DeadLetterFilter(NamedTuple):
    """Which letters are meant; ``None`` leaves a thing open.  ``ids`` are positions."""

    model: str | None = None
    reason: str | None = None
    producer: str | None = None
    since_ms: int | None = None
    ids: frozenset[str] = frozenset()

    def has(self, letter: DeadLetter) -> bool:
        """Whether a letter is meant."""
        return (
            self.model in (None, letter.model)
            and self.reason in (None, letter.reason)
            and self.producer in (None, letter.source)
            and (self.since_ms is None or letter.timestamp_ms >= self.since_ms)
            and (not self.ids or letter.letter_id in self.ids)
        )


class DeadLetterGroup(NamedTuple):
    """Letters of one model, reason and producer: how many, and the latest of them."""

    model: str
    reason: str
    source: str
    n: int
    example: DeadLetter


def read_dead_letters(client: Mapping[str, Any], topic: str) -> tuple[list[DeadLetter], list[str]]:
    """All letters, each once, in the order they were written; and what to say of what is none.

    Raises:
        LookupError: there is no such topic.
    """
    values = TopicDecoder(topic, DeadLetter, kind=DEAD_LETTER_CE_TYPE)
    found: dict[str, DeadLetter] = {}
    with reading.TopicReader(client, topic) as reader:
        for record in reader.until(lambda: False, idle_timeout_s=IDLE_TIMEOUT_S):
            letter = values.of(record)
            if letter is not None:
                found.setdefault(letter.letter_id, letter)
    return list(found.values()), values.notes()


def group_dead_letters(letters: Iterable[DeadLetter]) -> list[DeadLetterGroup]:
    """By model, reason and producer, the most frequent first."""
    counts: Counter[tuple[str, str, str]] = Counter()
    latest: dict[tuple[str, str, str], DeadLetter] = {}
    for letter in letters:
        key = letter.model, letter.reason, letter.source
        counts[key] += 1
        latest[key] = letter
    return [DeadLetterGroup(*key, n, latest[key]) for key, n in counts.most_common()]


def why_not(letter: DeadLetter, topic: str) -> str | None:
    """Why the record of a letter is not written again, whatever it holds; ``None``: it may be."""
    if letter.topic != topic:
        return f"it is of {letter.topic}, not of the log: `driftline forward` reads it there"
    if letter.reason in _POISON_REASONS:
        return f"{letter.reason}: workers ended while they read it"
    if letter.reason in _CONTROL_REASONS:
        return f"{letter.reason}: it is a control record; give the command again"
    return None


def reason_not_accepted(
    record: Record, letter: DeadLetter, now_ms: int, limits: Limits
) -> str | None:
    """Why a record is not written again as it lies in the log; ``None``: it would be accepted."""
    if record.kind in CONTROL_TYPES:
        return f"{record.kind}: it is a control record; give the command again"
    as_read = ConsumerRecord(record.offset, now_ms, record.kind, record.value, key=record.key)
    batch = RecordBatch(
        letter.topic, letter.partition, "", record.offset, record.offset + 1, [as_read]
    )
    for again in decode(batch, limits).dead_letters:
        return f"it would be rejected again ({again.reason}): {again.detail}"
    return None


def read_original_records(
    client: Mapping[str, Any], letters: Iterable[DeadLetter]
) -> dict[str, Record | None]:
    """The records of letters as they lie in their topic, by id; ``None``: it is there no more."""
    from confluent_kafka import TopicPartition  # noqa: PLC0415 - pure parts need none

    from producer.kafka_client import consumer_of  # noqa: PLC0415

    letter_list = list(letters)
    found: dict[str, Record | None] = {letter.letter_id: None for letter in letter_list}
    places: dict[tuple[str, int], dict[int, str]] = {}
    for letter in letter_list:
        of_partition = places.setdefault((letter.topic, letter.partition), {})
        of_partition[letter.offset] = letter.letter_id
    consumer = consumer_of(client, required={"auto.offset.reset": "error"})
    try:
        for (topic, partition), ids in places.items():
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), _FETCH_S)
            for first, last in offset_ranges(offset for offset in ids if low <= offset < high):
                consumer.assign([TopicPartition(topic, partition, first)])
                at, deadline = first, time.monotonic() + _FETCH_S
                while at <= last and time.monotonic() < deadline:
                    # It waits until all are there, or so long.
                    for message in consumer.consume(_FETCHED, _WAIT_S):
                        if message.error() is not None:
                            continue
                        record = reading.as_record(message)
                        at, deadline = record.offset + 1, time.monotonic() + _FETCH_S
                        if record.offset in ids:
                            found[ids[record.offset]] = record
    finally:
        consumer.close()
    return found


def offset_ranges(offsets: Iterable[int]) -> list[tuple[int, int]]:
    """First and last offset of what is read in one go: a new start costs more than a small gap.

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
    """Write records to the log, each with its key, its headers and its value as they were.

    A record with a key goes where records of that key go now, another one to its old partition.
    Answers what did not arrive, and why.
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
