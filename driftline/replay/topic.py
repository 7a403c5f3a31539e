"""Reading recorded traffic from the log itself: a range of a topic as a frame, a row an event."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import pandas as pd

from driftline.reading import Record, TopicReader
from driftline.replay.refusal import BadSource
from producer.codec import RefusedRecord, decode
from producer.drill import is_shadow
from producer.events import InferenceEvent, Label, Prediction

MARK: Final = "topic:"
TIME: Final = "time_ms"
PREDICTION: Final = "prediction"
LABEL: Final = "label"
_ROLES: Final = frozenset({TIME, PREDICTION, LABEL})
_QUIET_S: Final = 5.0


class Bound(NamedTuple):
    """Where a range begins or ends: an offset, or a time of appending in ms."""

    offset: int | None
    time_ms: int | None

    def before(self, record: Record) -> bool:
        """Whether the bound lies before a record, or at it."""
        if self.offset is not None:
            return self.offset <= record.offset
        return self.time_ms is not None and self.time_ms <= record.timestamp_ms


def parse_bound(text: str, option: str) -> Bound:
    """An offset, or a time as ISO 8601 writes it; without a zone it is UTC.

    Raises:
        BadSource: it is neither.

    >>> parse_bound("1200", "--from"), parse_bound("1970-01-01T00:00:01", "--to")
    (Bound(offset=1200, time_ms=None), Bound(offset=None, time_ms=1000))
    """
    if text.isdecimal():
        return Bound(int(text), None)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadSource(
            f"{option}: {text!r} is no offset and no time", fix="1200, or 2024-05-01T12:00Z"
        ) from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return Bound(None, round(moment.timestamp() * 1000))


def read_range(
    client: Mapping[str, Any],
    topic: str,
    model: str | None,
    since: Bound | None,
    upto: Bound | None,
) -> pd.DataFrame:
    """The events of ``model`` in [since, upto), as `frame_of` makes a frame of them.

    Joins no group and changes nothing.

    Raises:
        BadSource: there is no such topic, or nothing of that model in it.
        KafkaException: nobody answers (confluent_kafka's).
    """
    records: list[Record] = []
    try:
        with TopicReader(client, topic) as reader:
            ends = reader.ends()
            reached = dict.fromkeys(reader.partitions, 0)
            for record in reader.until(
                lambda: all(reached[p] >= ends[p] for p in ends), quiet_s=_QUIET_S
            ):
                reached[record.partition] = record.offset + 1
                if record.offset < ends[record.partition] and _inside(record, since, upto):
                    records.append(record)
    except LookupError as error:
        raise BadSource(str(error), fix="driftline topics create") from error
    return frame_of(records, model, topic)


def _inside(record: Record, since: Bound | None, upto: Bound | None) -> bool:
    return (since is None or since.before(record)) and not (upto and upto.before(record))


def frame_of(records: Iterable[Record], model: str | None, topic: str) -> pd.DataFrame:
    """A row for each event, in the order of the log; repeats of an id are left out.

    Columns: the features, ``time_ms``, ``prediction`` (of class probabilities the likeliest), and
    ``label`` where any came.  The records of several partitions interleave as they were appended.

    Raises:
        BadSource: there is no event, or those of several models and none was chosen.
    """
    rows: dict[str, dict[str, Any]] = {}
    labels: dict[str, Any] = {}
    models: set[str] = set()
    for record in _in_order(records):
        try:
            event = decode(record.value or b"", record.kind)
        except RefusedRecord:
            continue  # the monitor refuses it too
        if not isinstance(event, InferenceEvent | Label) or _is_hidden(event.model, model):
            continue
        models.add(event.model)
        if model not in (None, event.model):
            continue
        if isinstance(event, Label):
            labels.setdefault(event.id, event.label)
        elif event.id not in rows:
            rows[event.id] = _row(event, f"{topic}: event {event.id}")
    if model is None and len(models) > 1:
        raise BadSource(
            f"{topic} has {len(models)} models", fix=f"--model, one of {', '.join(sorted(models))}"
        )
    if not rows:
        there = ", ".join(sorted(models)) or "no event at all"
        raise BadSource(f"{topic}: nothing of {model!r} in that range (there is {there})")
    frame = pd.DataFrame(list(rows.values()))
    if not labels.keys().isdisjoint(rows):
        frame[LABEL] = [labels.get(name) for name in rows]
    return frame


def _is_hidden(name: str, wanted: str | None) -> bool:
    """The shadow of a drill is no model that anybody would mean."""
    return wanted is None and is_shadow(name)


def _in_order(records: Iterable[Record]) -> list[Record]:
    """Each partition in its own order, whatever the clocks say; several as they were appended."""
    clock_ms: dict[int, int] = {}
    placed: list[tuple[int, int, int, Record]] = []
    for record in sorted(records, key=lambda r: (r.partition, r.offset)):
        now_ms = max(clock_ms.get(record.partition, 0), record.timestamp_ms)
        clock_ms[record.partition] = now_ms
        placed.append((now_ms, record.partition, record.offset, record))
    return [record for *_, record in sorted(placed, key=lambda place: place[:3])]


def _row(event: InferenceEvent, where: str) -> dict[str, Any]:
    clash = sorted(event.features.keys() & _ROLES)
    if clash:
        raise BadSource(f"{where}: a feature and a field are both called {clash[0]!r}")
    return {TIME: event.time_ms, PREDICTION: _said(event.prediction), **event.features}


def _said(prediction: Prediction) -> float | int | str | None:
    if not isinstance(prediction, dict):
        return prediction
    return max(sorted(prediction), key=prediction.__getitem__) if prediction else None
