"""Convert the rows of a file into events, chunk by chunk, with injected drift."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple, Protocol

import msgspec
import numpy as np
import pandas as pd
from msgspec import UNSET

from driftline.offline.injection import Injection, inject
from driftline.offline.tables.convert import floats_of, plain_of, values_of
from driftline.offline.tables.event_times import times_ms, with_times
from driftline.offline.tables.layout import Layout, layout_of, missing_column_error
from driftline.offline.tables.source_error import SourceError
from driftline.offline.tables.table_reader import TableFile
from producer.codec import encode
from producer.events import CE_TYPE_OF, Event, InferenceEvent, Label, Value
from producer.limits import Limits
from stream_monitor.core.spec import MonitorSpec
from stream_monitor.ingest.decode import decode
from stream_monitor.ingest.records import ConsumerRecord, RecordBatch

_SPEC: Final = MonitorSpec()
_REMEMBERED: Final = _SPEC.dedup_window_chunks * _SPEC.labels.chunk_events
"""Ids within which the monitor recognises a repeat, by default."""
_SD_ROWS: Final = 10_000
_REPORT_EVERY: Final = 500
_SECOND_MS: Final = 1_000


class PublishColumns(msgspec.Struct, frozen=True, kw_only=True):
    """The columns with a role; the other watched columns are features.

    Without ``prediction`` the events have none.  Without ``id`` the row number and the ``source``
    of the rows are the id.  Without ``time`` the events are one second apart, and the last is now.
    """

    prediction: str | None = None
    label: str | None = None
    time: str | None = None
    time_format: str | None = None
    id: str | None = None


class Writer(Protocol):
    """Writes events, such as `EventWriter`."""

    def write(self, event: Event) -> None:
        """Write one event."""
        ...


class RowEvents(NamedTuple):
    """The events of a row, or the ``reason`` why the monitor would reject one of them."""

    events: list[Event]
    reason: str = ""
    detail: str = ""


class PublishResult(NamedTuple):
    """The numbers of rows read and rejected (by reason); ``first`` is the first rejected row.

    ``repeats`` are rows with the id of an earlier one, which the monitor does not count.
    """

    rows: int
    rejected: Counter[str]
    first: str = ""
    repeats: int = 0


def layout_to_publish(table: TableFile, columns: PublishColumns) -> Layout:
    """The role of each column of the file.

    Raises:
        SourceError: a named column is missing.
    """
    if columns.id is not None and columns.id not in table.inferred:
        raise missing_column_error("--id", columns.id, table.inferred)
    return layout_of(
        table,
        time=columns.time,
        prediction=columns.prediction,
        label=columns.label,
        others=() if columns.id is None else (columns.id,),
    )


def row_events_of(
    table: TableFile,
    layout: Layout,
    *,
    model: str,
    version: str,
    columns: PublishColumns,
    injections: Sequence[Injection] = (),
    source: str,
    now_ms: int,
    limits: Limits,
) -> Iterator[RowEvents]:
    """The events of each row: the inference event, and its label if the row has one.

    ``source`` names the rows: other rows, or the same with another injection, have another name,
    so that the monitor does not take their events for repeated ones.

    Raises:
        SourceError: a row has no time, or an injected column is not watched.
    """
    sds: dict[str, float] | None = None
    start_ms = now_ms - (table.n_rows - 1) * _SECOND_MS
    for frame in table.frames():
        if sds is None:
            sds = _standard_deviations(frame, layout, injections)
        numbers = range(int(frame.index[0]), int(frame.index[0]) + len(frame))
        times = _times(frame, columns, numbers, start_ms)
        ids = _ids(frame, columns, numbers, source)
        features = _features(frame, layout, numbers, injections, sds)
        for row in _events(frame, columns, (model, version), ids, times, features):
            yield _checked(row, now_ms, limits)


def publish_rows(
    rows: Iterator[RowEvents],
    writer: Writer,
    *,
    events_per_s: float | None = None,
    on_progress: Callable[[int], Any] = lambda _: None,
) -> PublishResult:
    """Write the rows with ``events_per_s``, or as fast as possible."""
    began = time.monotonic()
    rejected: Counter[str] = Counter()
    first = ""
    number = repeats = 0
    recent: dict[str, None] = {}
    for number, row in enumerate(rows, start=1):
        if row.reason:
            rejected[row.reason] += 1
            first = first or f"row {number - 1}: {row.detail}"
        else:
            repeats += _repeats(row.events, recent)
            for event in row.events:
                writer.write(event)
        if events_per_s is not None:
            ahead_s = number / events_per_s - (time.monotonic() - began)
            if ahead_s > 0:
                time.sleep(ahead_s)
        if number % _REPORT_EVERY == 0:
            on_progress(number)
    on_progress(number)
    return PublishResult(number, rejected, first, repeats)


def _repeats(events: Sequence[Event], recent: dict[str, None]) -> int:
    """1 if the event of a row has an id among the ``recent`` ones, to which it is added."""
    name = next(event.id for event in events if isinstance(event, InferenceEvent))
    repeated = name in recent
    recent[name] = None
    if len(recent) > _REMEMBERED:
        del recent[next(iter(recent))]
    return int(repeated)


def _standard_deviations(
    frame: pd.DataFrame, layout: Layout, injections: Sequence[Injection]
) -> dict[str, float]:
    """The standard deviation of each injected column, from the first 10,000 rows."""
    kinds = {f.column: f.kind for f in layout.features}
    for injection in injections:
        if injection.column not in kinds:
            raise missing_column_error("--inject", injection.column, kinds)
    found = {}
    for column in {
        one.column for one in injections if one.in_sd and kinds[one.column] == "numeric"
    }:
        floats = floats_of(frame[column].head(_SD_ROWS))
        finite = floats[np.isfinite(floats)]
        found[column] = float(finite.std()) if len(finite) else 0.0
    return found


def _times(
    frame: pd.DataFrame, columns: PublishColumns, numbers: range, start_ms: int
) -> Sequence[int]:
    if columns.time is None:
        return [start_ms + number * _SECOND_MS for number in numbers]
    return times_ms(with_times(frame, columns.time, columns.time_format)[columns.time])


def _ids(
    frame: pd.DataFrame, columns: PublishColumns, numbers: range, source: str
) -> Sequence[str]:
    if columns.id is None:
        return [f"row-{number}-{source}" for number in numbers]
    ids = plain_of(frame[columns.id])
    if None in ids:
        raise SourceError(f"--id {columns.id}: row {numbers[ids.index(None)]:,} has no id")
    return [str(name) for name in ids]


def _features(
    frame: pd.DataFrame,
    layout: Layout,
    numbers: range,
    injections: Sequence[Injection],
    sds: dict[str, float],
) -> dict[str, list[Value]]:
    features: dict[str, list[Value]] = {
        f.name: values_of(frame[f.column], f.kind) for f in layout.features
    }
    for injection in injections:
        name = injection.column
        features[name] = [
            inject(injection, value, number, sds.get(name, 0.0))
            for number, value in zip(numbers, features[name], strict=True)
        ]
    return features


def _events(
    frame: pd.DataFrame,
    columns: PublishColumns,
    named: tuple[str, str],
    ids: Sequence[str],
    times: Sequence[int],
    features: dict[str, list[Value]],
) -> Iterator[list[Event]]:
    model, version = named
    predictions: list[Any] = [UNSET] * len(frame)
    if columns.prediction is not None:
        predictions = plain_of(frame[columns.prediction])
    labels: list[Any] = (
        [None] * len(frame) if columns.label is None else plain_of(frame[columns.label])
    )
    for at in range(len(frame)):
        made: list[Event] = [
            InferenceEvent(
                id=ids[at],
                model=model,
                version=version,
                time_ms=times[at],
                features={name: values[at] for name, values in features.items()},
                prediction=predictions[at],
            )
        ]
        if (truth := labels[at]) is not None:
            made.append(Label(id=ids[at], model=model, label=truth, time_ms=times[at]))
        yield made


def _checked(events: list[Event], now_ms: int, limits: Limits) -> RowEvents:
    """The row after the monitor's own validation of its encoded events."""
    records = [
        ConsumerRecord(at, now_ms, CE_TYPE_OF[type(event)], encode(event))
        for at, event in enumerate(events)
    ]
    rejected = decode(RecordBatch("", 0, "", 0, len(records), records), limits).dead_letters
    return RowEvents([], rejected[0].reason, rejected[0].detail) if rejected else RowEvents(events)
