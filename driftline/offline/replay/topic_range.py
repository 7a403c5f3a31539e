"""Select the records of one model in a range of the event topic, by partition."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from driftline.offline.replay.topic_table import (
    TopicRecords,
    decoded,
    is_excluded_drill,
    require_one_model,
)
from driftline.topics.topic_reader import Record
from producer.codec import encode
from producer.events import CE_TYPE_OF, Event, InferenceEvent, Label, Tick, Topology
from stream_monitor.ingest.records import ConsumerRecord, RecordBatch, StaticHeaders

BATCH_RECORDS: Final = 4_000
_TICK: Final = CE_TYPE_OF[Tick]


@dataclass
class PartitionRange:
    """The records of one partition.

    ``places`` are offset and row of the model's events, ``rows`` their numbers among all events of
    the range, in append order.  ``n_events`` counts the events by version, ``kinds`` the model's
    records by ``ce_type``.
    """

    partition: int
    records: list[ConsumerRecord] = field(default_factory=list)
    places: list[tuple[int, int]] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    n_events: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)

    def row(self, offset: int, row: int = 0) -> int:
        """The number of the event at an offset, in a row of its record, or before it.

        >>> part = PartitionRange(0, places=[(4, 0), (6, 0), (6, 1)], rows=[0, 7, 8])
        >>> [part.row(*place) for place in ((2, 0), (4, 0), (5, 0), (6, 0), (6, 1), (9, 0))]
        [0, 0, 0, 7, 8, 8]
        """
        return self.rows[max(0, bisect_right(self.places, (offset, row)) - 1)]

    def take(self, record: ConsumerRecord, row: int) -> None:
        """Add the record of an event; it is there already if the event is not in its first row."""
        if not row:
            self.records.append(record)

    def batches(self, topic: str) -> Iterator[RecordBatch]:
        """The records in order, in batches."""
        for start in range(0, len(self.records), BATCH_RECORDS):
            some = self.records[start : start + BATCH_RECORDS]
            yield RecordBatch(topic, self.partition, "", some[0].offset, some[-1].offset + 1, some)


@dataclass(frozen=True)
class TopicRange:
    """The partitions with events of ``model``; ``span_ms`` is the period of their event times."""

    topic: str
    model: str
    parts: list[PartitionRange]
    span_ms: int


def topic_range_of(found: TopicRecords, model: str | None, topic: str) -> TopicRange:
    """The records that the monitor would read for ``model``; ``None`` if there is only one model.

    The model's records, ticks and unreadable records are kept.  Records of other models become
    ticks, because they only show that time passed.  The model updates before the range come first.

    Raises:
        SourceError: the range has no event, or events of several models and none was chosen.
    """
    there: set[str] = set()
    inside = list(decoded(found.inside))
    model = model or _only_model((event for _, event in inside), topic)
    parts: dict[int, PartitionRange] = {}
    for record, event in decoded(found.updates):
        if event is not None and not isinstance(event, Tick | Topology) and event.model == model:
            _part(parts, record).records.append(_as_read(record))
    ids: set[tuple[int, str, str]] = set()
    first_ms: int | None = None
    last_ms = 0
    for record, event, row in _with_rows(inside):
        part = _part(parts, record)
        if event is None or isinstance(event, Tick | Topology):
            part.take(_as_read(record), row)
            continue
        if isinstance(event, InferenceEvent | Label) and not is_excluded_drill(event.model, model):
            there.add(event.model)
        if event.model != model:
            part.take(_as_tick(record), row)
            continue
        part.take(_as_read(record), row)
        part.kinds[CE_TYPE_OF[type(event)]] += 1
        if not isinstance(event, InferenceEvent) or event.shadow:
            continue
        # Count a repeated event once; two versions may score the same ids.
        key = part.partition, event.version, event.id
        if key not in ids:
            part.places.append((record.offset, row))
            part.rows.append(len(ids))
            part.n_events[event.version] += 1
            ids.add(key)
            first_ms = event.time_ms if first_ms is None else min(first_ms, event.time_ms)
            last_ms = max(last_ms, event.time_ms)
    require_one_model(topic, model, there, len(ids))
    with_events = [parts[partition] for partition in sorted(parts) if parts[partition].rows]
    return TopicRange(topic, model, with_events, last_ms - (first_ms or 0))


def _with_rows(
    events: Iterable[tuple[Record, Event | None]],
) -> Iterator[tuple[Record, Event | None, int]]:
    """Each event with its row in its record."""
    previous, row = None, 0
    for record, event in events:
        row = row + 1 if record is previous else 0
        previous = record
        yield record, event, row


def _only_model(events: Iterable[Event | None], topic: str) -> str:
    there = {
        event.model
        for event in events
        if isinstance(event, InferenceEvent | Label) and not is_excluded_drill(event.model, None)
    }
    require_one_model(topic, None, there, len(there))
    return there.pop()


def _part(parts: dict[int, PartitionRange], record: Record) -> PartitionRange:
    return parts.setdefault(record.partition, PartitionRange(record.partition))


def _as_read(record: Record) -> ConsumerRecord:
    return ConsumerRecord(
        record.offset,
        record.timestamp_ms,
        record.kind,
        record.value,
        key=record.key,
        header_source=StaticHeaders(record.headers),
    )


def _as_tick(record: Record) -> ConsumerRecord:
    value = encode(Tick(time_ms=max(0, record.timestamp_ms)))
    return ConsumerRecord(record.offset, record.timestamp_ms, _TICK, value)
