"""Reading recorded traffic from the log itself: a range of a topic as a frame, a row an event."""

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
from producer.codec import RejectedRecord, decode
from producer.events import CE_TYPE_OF, Event, InferenceEvent, Label, ModelUpdate, Prediction
from producer.synthetic import is_synthetic
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
"""Classes whose positive one needs no profile; of other names the likeliest is watched."""


class TopicTable(NamedTuple):
    """Events of a topic as a frame, and the profile that was in force; ``versions`` they name."""

    frame: pd.DataFrame
    profile: ReferenceProfile | None
    versions: list[str]


class TopicRecords(NamedTuple):
    """Records of a topic: those inside a range, and the model updates that lie before it."""

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
    """The events of ``model``, as `frame_of` makes a frame of them.

    The profile is that of the last `ModelUpdate` before the end of the range that brought one for
    a version whose events are in it, where it is to be ``announced``; ``profiled``: another one is
    given.

    Raises:
        SourceError: there is nothing of that model in it.
    """
    events = _events_of(found.inside)
    named, versions = _meant(events, model)
    updates = (r for r in (*found.updates, *found.inside) if r.kind == _UPDATE)
    profile = _in_force(updates, named, versions) if announced else None
    frame = _frame(events, model, topic, profiled=profiled or profile is not None)
    return TopicTable(frame, profile, versions)


def _meant(events: Iterable[Event], model: str | None) -> tuple[set[str], list[str]]:
    """The models that may be meant, and the versions that their events name."""
    chosen = [
        event
        for event in events
        if isinstance(event, InferenceEvent)
        and not is_excluded_drill(event.model, model)
        and model in (None, event.model)
    ]
    return {event.model for event in chosen}, sorted({event.version for event in chosen})


def _in_force(
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
                continue  # the monitor refuses it too
    return found


def _events_of(records: Iterable[Record]) -> list[Event]:
    """What the records say, in the order of the log, without what the monitor refuses too."""
    return [event for _, event in decoded(records) if event is not None]


def decoded(records: Iterable[Record]) -> Iterator[tuple[Record, Event | None]]:
    """Each record, in the order of the log, with what it says; ``None``: it is unreadable."""
    for record in in_order(records):
        try:
            yield record, decode(record.value or b"", record.kind)
        except RejectedRecord:
            yield record, None


def frame_of(
    records: Iterable[Record], model: str | None, topic: str, *, profiled: bool = False
) -> pd.DataFrame:
    """A row for each event, in the order of the log; repeats of an id are left out.

    Columns: the features, ``time_ms``, ``prediction`` and ``label`` where any came.  The records
    of several partitions interleave as they were appended.  A map of class probabilities stays one
    where a profile (``profiled``) says which class is the positive one, and so does one of the
    classes 0 and 1, whose positive one is known; of any other it is the likeliest class.  With a
    profile there is a column `SEGMENT`, too.

    Raises:
        SourceError: there is no event, or those of several models and none was chosen.
    """
    return _frame(_events_of(records), model, topic, profiled=profiled)


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
        elif event.id not in rows:
            rows[event.id] = _row(event, f"{topic}: event {event.id}", profiled=profiled)
    require_one_model(topic, model, models, len(rows))
    frame = pd.DataFrame(list(rows.values()))
    if absent(frame[PREDICTION]).all():
        frame = frame.drop(columns=PREDICTION)
    if not labels.keys().isdisjoint(rows):
        frame[LABEL] = [labels.get(name) for name in rows]
    return frame


def require_one_model(topic: str, model: str | None, there: set[str], n_events: int) -> None:
    """Raises SourceError where several models are meant, or nothing is there of the one."""
    if model is None and len(there) > 1:
        raise SourceError(
            f"{topic} has {len(there)} models", fix=f"--model, one of {', '.join(sorted(there))}"
        )
    if not n_events:
        named = ", ".join(sorted(there)) or "no event at all"
        raise SourceError(f"{topic}: nothing of {model!r} in that range (there is {named})")


def is_excluded_drill(name: str, wanted: str | None) -> bool:
    """The shadow of a drill is no model that anybody would mean."""
    return wanted is None and is_synthetic(name)


def in_order(records: Iterable[Record]) -> list[Record]:
    """Each partition in its own order, whatever the clocks say; several as they were appended."""
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
        raise SourceError(f"{where}: a feature and a field are both called {clash[0]!r}")
    row = {TIME: event.time_ms, PREDICTION: event.prediction, **event.features}
    return row | (
        {SEGMENT: event.segment} if profiled else {PREDICTION: _prediction_cell(event.prediction)}
    )


def _prediction_cell(prediction: Prediction | UnsetType) -> Prediction | UnsetType:
    if not isinstance(prediction, dict) or prediction.keys() <= _BINARY:
        return prediction
    return prediction if output_names([prediction]) else most_probable(prediction)
