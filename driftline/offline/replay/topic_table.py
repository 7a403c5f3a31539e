"""Read a range of the event topic as a table, with one row for each event."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import pandas as pd
from msgspec import UnsetType

from driftline.offline.replay.range_bounds import Bound
from driftline.offline.replay.stored_profile import SEGMENT
from driftline.offline.tables.absent_predictions import absent
from driftline.offline.tables.source_error import SourceError
from driftline.topics.topic_reader import MissingTopicError, Record, TopicReader
from producer.codec import RejectedRecord
from producer.events import CE_TYPE_OF, Event, InferenceEvent, Label, ModelUpdate, Prediction
from producer.synthetic import is_synthetic
from stream_monitor.ingest.event_columns import events_in
from stream_monitor.reference.loss import most_probable
from stream_monitor.reference.outputs import output_names
from stream_monitor.reference.profile import ReferenceProfile, profile_from_data

TIME: Final = "time_ms"
PREDICTION: Final = "prediction"
LABEL: Final = "label"
_ROLES: Final = frozenset({TIME, PREDICTION, LABEL})
_IDLE_TIMEOUT_S: Final = 5.0
_UPDATE: Final = CE_TYPE_OF[ModelUpdate]
_BINARY: Final = frozenset({"0", "1"})
"""Classes whose positive one is known; of other classes the most probable one is watched."""


class TopicTable(NamedTuple):
    """The events of a topic as a frame, their announced profile, and their versions."""

    frame: pd.DataFrame
    profile: ReferenceProfile | None
    versions: list[str]


class TopicRecords(NamedTuple):
    """The records inside a range of a topic, and the model updates before it."""

    inside: list[Record]
    updates: list[Record]


def read_topic_records(
    client: Mapping[str, Any], topic: str, since: Bound | None, upto: Bound | None
) -> TopicRecords:
    """The records of [since, upto), and the model updates before.

    Joins no consumer group and changes nothing.

    Raises:
        SourceError: the topic does not exist.
        KafkaException: no broker answers (confluent_kafka's class).
    """
    found = TopicRecords([], [])
    try:
        with TopicReader(client, topic) as reader:
            ends = reader.ends()
            reached = dict.fromkeys(reader.partitions, 0)
            for record in reader.read_until(
                lambda: all(reached[p] >= ends[p] for p in ends), idle_timeout_s=_IDLE_TIMEOUT_S
            ):
                reached[record.partition] = record.offset + 1
                if record.offset >= ends[record.partition] or (upto and upto.before(record)):
                    continue
                if since is None or since.before(record):
                    found.inside.append(record)
                elif record.kind == _UPDATE:
                    found.updates.append(record)
    except MissingTopicError as error:
        raise SourceError(str(error), fix="driftline topics create") from error
    return found


def topic_table_of(
    found: TopicRecords,
    model: str | None,
    topic: str,
    *,
    profiled: bool = False,
    announced: bool = True,
) -> TopicTable:
    """The events of ``model`` as a table, a row each, in append order; repeats are left out.

    The columns are the features, ``time_ms``, ``prediction`` and ``label`` if there are any.  A map
    of class probabilities is kept if a profile names the positive class, or if the classes are 0
    and 1; otherwise it becomes the most probable class.  With a profile there is also the column
    `SEGMENT`.

    With ``announced``, the profile is the last one that was announced, before the end of the range,
    for a version in it.  ``profiled``: the caller has another profile.

    Raises:
        SourceError: there is no event, or events of several models and none was chosen.
    """
    events = _events_of(found.inside)
    named, versions = _models_and_versions(events, model)
    updates = (r for r in (*found.updates, *found.inside) if r.kind == _UPDATE)
    profile = _announced_profile(updates, named, versions) if announced else None
    frame = _frame(events, model, topic, profiled=profiled or profile is not None)
    return TopicTable(frame, profile, versions)


def _models_and_versions(events: Iterable[Event], model: str | None) -> tuple[set[str], list[str]]:
    """The models of the events, or ``model`` alone, and their versions."""
    chosen = [
        event
        for event in events
        if isinstance(event, InferenceEvent)
        and not event.shadow
        and not is_excluded_drill(event.model, model)
        and model in (None, event.model)
    ]
    return {event.model for event in chosen}, sorted({event.version for event in chosen})


def _announced_profile(
    updates: Iterable[Record], models: set[str], versions: Sequence[str]
) -> ReferenceProfile | None:
    found = None
    for update in _events_of(updates):
        if not isinstance(update, ModelUpdate) or update.profile is None:
            continue
        if update.model in models and update.version in versions:
            try:
                found = profile_from_data(update.profile)
            except ValueError:
                continue  # the monitor rejects it, too
    return found


def _events_of(records: Iterable[Record]) -> list[Event]:
    """The decoded records in order, without unreadable ones."""
    return [event for _, event in decoded(records) if event is not None]


def decoded(records: Iterable[Record]) -> Iterator[tuple[Record, Event | None]]:
    """Each event of each record in order; ``None`` if the record, or the row, is unreadable."""
    for record in in_order(records):
        try:
            events = events_in(record.value or b"", record.kind)
        except RejectedRecord:
            yield record, None
        else:
            yield from ((record, event) for event in events)


def _frame(
    events: Iterable[Event], model: str | None, topic: str, *, profiled: bool
) -> pd.DataFrame:
    rows: dict[str, dict[str, Any]] = {}
    labels: dict[str, Any] = {}
    models: set[str] = set()
    for event in events:
        if not isinstance(event, InferenceEvent | Label) or is_excluded_drill(event.model, model):
            continue
        models.add(event.model)
        if model not in (None, event.model):
            continue
        if isinstance(event, Label):
            labels.setdefault(event.id, event.label)
        elif event.id not in rows and not event.shadow:
            rows[event.id] = _row(event, f"{topic}: event {event.id}", profiled=profiled)
    require_one_model(topic, model, models, len(rows))
    frame = pd.DataFrame(list(rows.values()))
    if absent(frame[PREDICTION]).all():
        frame = frame.drop(columns=PREDICTION)
    if not labels.keys().isdisjoint(rows):
        frame[LABEL] = [labels.get(name) for name in rows]
    return frame


def require_one_model(topic: str, model: str | None, there: set[str], n_events: int) -> None:
    """Check that the range has events of one model.

    Raises:
        SourceError: there is no event of ``model``, or several models and none was chosen.
    """
    if model is None and len(there) > 1:
        raise SourceError(
            f"{topic} has {len(there)} models",
            fix=f"choose one with --model: {', '.join(sorted(there))}",
        )
    if not n_events:
        named = f"models {', '.join(sorted(there))}" if there else "no event"
        raise SourceError(
            f"{topic} has no event of {model!r} in this range",
            fix=f"choose another --model, --from or --to; the range has {named}",
        )


def is_excluded_drill(name: str, wanted: str | None) -> bool:
    """Whether a model is a drill's synthetic model and no model was chosen."""
    return wanted is None and is_synthetic(name)


def in_order(records: Iterable[Record]) -> list[Record]:
    """Records sorted by append time, but each partition in the order of its offsets."""
    clock_ms: dict[int, int] = {}
    placed: list[tuple[int, int, int, Record]] = []
    for record in sorted(records, key=lambda r: (r.partition, r.offset)):
        now_ms = max(clock_ms.get(record.partition, 0), record.timestamp_ms)
        clock_ms[record.partition] = now_ms
        placed.append((now_ms, record.partition, record.offset, record))
    return [record for *_, record in sorted(placed, key=lambda place: place[:3])]


def _row(event: InferenceEvent, where: str, *, profiled: bool) -> dict[str, Any]:
    clash = sorted(event.features.keys() & _ROLES)
    if clash:
        raise SourceError(f"{where}: a feature and a field both have the name {clash[0]!r}")
    row = {TIME: event.time_ms, PREDICTION: event.prediction, **event.features}
    return row | (
        {SEGMENT: event.segment} if profiled else {PREDICTION: _prediction_cell(event.prediction)}
    )


def _prediction_cell(prediction: Prediction | UnsetType) -> Prediction | UnsetType:
    if not isinstance(prediction, dict) or prediction.keys() <= _BINARY:
        return prediction
    return prediction if output_names([prediction]) else most_probable(prediction)
