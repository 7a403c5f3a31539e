"""Convert rows into records of the event topic, so that the core reads them as in production."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import pandas as pd
from msgspec import UNSET

from driftline.offline.injection import Injection, category_name, inject
from driftline.offline.replay.stored_profile import SEGMENT
from driftline.offline.tables.convert import plain_of, values_of
from driftline.offline.tables.event_times import times_ms
from driftline.offline.tables.layout import Layout
from driftline.offline.tables.source_error import SourceError
from producer.codec import encode
from producer.events import CE_TYPE_OF, InferenceEvent, Label, ModelUpdate, Value
from stream_monitor.ingest.records import ConsumerRecord, RecordBatch
from stream_monitor.reference.profile import ReferenceProfile, profile_to_data

TOPIC: Final = "replay"
MODEL: Final = "replay"
VERSION: Final = "1"
BATCH_ROWS: Final = 4_000
_SECOND_MS: Final = 1_000


class RowOffsets(NamedTuple):
    """The offsets of rows: ``stride`` is 2 if each event is followed by its label, else 1."""

    stride: int

    def offset(self, row: int) -> int:
        """The offset of a row's event; the offset before the first row is for the model update."""
        return self.stride * (row + 1)

    def row(self, offset: int) -> int:
        """The row of an event or a label.

        >>> [RowOffsets(2).row(RowOffsets(2).offset(7) + k) for k in (0, 1)], RowOffsets(1).row(8)
        ([7, 7], 7)
        """
        return max(0, offset // self.stride - 1)


class ReplayRows(NamedTuple):
    """The columns of the rows to replay; ``first`` is the number of the first row in the file.

    Features that are ``unknown`` to the reference are left out of an event without a value.
    """

    first: int
    times_ms: Sequence[int]
    features: dict[str, list[Value]]
    predictions: list[Any] | None
    labels: list[Any] | None
    segments: list[Any] | None = None
    unknown: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return len(self.times_ms)


def replay_rows_of(
    frame: pd.DataFrame,
    layout: Layout,
    first: int,
    injections: Sequence[Injection],
    sd_of: Callable[[str], float],
    unknown: frozenset[str] = frozenset(),
) -> ReplayRows:
    """The rows of the frame as plain values, with injected drift.

    Raises:
        SourceError: an injection changes no value.
    """
    if layout.time is None:
        times: Sequence[int] = range(
            first * _SECOND_MS, (first + len(frame)) * _SECOND_MS, _SECOND_MS
        )
    else:
        times = times_ms(frame[layout.time])
    features = {f.name: values_of(frame[f.column], f.kind) for f in layout.features}
    for injection in injections:
        name = next(f.name for f in layout.features if f.column == injection.column)
        sd = sd_of(injection.column) if injection.in_sd else 1.0
        before = features[name]
        features[name] = [inject(injection, value, first + i, sd) for i, value in enumerate(before)]
        if features[name] == before:
            raise SourceError(
                f"--inject: {injection.kind} of {injection.column!r} changes no value from row "
                f"{injection.first:,} on",
                fix=_injection_fix(injection, before, first),
            )
    return ReplayRows(
        first,
        times,
        features,
        _plain(frame, layout.prediction),
        _plain(frame, layout.label) if layout.prediction else None,
        _plain(frame, SEGMENT if SEGMENT in frame else None),
        unknown,
    )


def _injection_fix(injection: Injection, values: list[Value], first: int) -> str:
    if injection.kind != "swap":
        return "inject a larger change, or replay more rows"
    values_there = [
        category_name(value)
        for i, value in enumerate(values)
        if value is not None and injection.applies(first + i)
    ]
    common = [name for name, _ in Counter(values_there).most_common(8)]
    return f"choose a value of these rows, like {', '.join(map(repr, common))}" if common else ""


def _plain(frame: pd.DataFrame, column: str | None) -> list[Any] | None:
    return None if column is None else plain_of(frame[column])


def model_update_of(
    profile: ReferenceProfile, offsets: RowOffsets, rows: ReplayRows
) -> RecordBatch:
    """A batch with the model update, before the first event."""
    offset = offsets.offset(rows.first) - 1
    time_ms = rows.times_ms[0]
    update = ModelUpdate(
        id="reference",
        model=MODEL,
        version=VERSION,
        time_ms=time_ms,
        profile=profile_to_data(profile),
    )
    record = ConsumerRecord(offset, max(rows.times_ms), CE_TYPE_OF[ModelUpdate], encode(update))
    return RecordBatch(TOPIC, 0, "", offset, offset + 1, [record])


def batches(rows: ReplayRows, offsets: RowOffsets) -> Iterator[RecordBatch]:
    """Batches of the events, each followed by its label, in the order of the file.

    All records have the same append time, the last one of the file: a file does not show when its
    rows arrived, so the monitor must not conclude that a model was idle.
    """
    names = list(rows.features)
    columns = zip(*rows.features.values(), strict=True) if names else iter(lambda: (), None)
    appended_ms = max(rows.times_ms)
    records: list[ConsumerRecord] = []
    for i, (time_ms, values) in enumerate(zip(rows.times_ms, columns, strict=False)):
        row = rows.first + i
        offset = offsets.offset(row)
        event = InferenceEvent(
            id=f"row-{row}",
            model=MODEL,
            version=VERSION,
            time_ms=time_ms,
            features={
                name: value
                for name, value in zip(names, values, strict=True)
                if value is not None or name not in rows.unknown
            },
            prediction=UNSET if rows.predictions is None else rows.predictions[i],
            segment=None if rows.segments is None else rows.segments[i],
        )
        records.append(
            ConsumerRecord(offset, appended_ms, CE_TYPE_OF[InferenceEvent], encode(event))
        )
        truth = None if rows.labels is None else rows.labels[i]
        if truth is not None:
            label = Label(id=event.id, model=MODEL, label=truth, time_ms=time_ms)
            records.append(
                ConsumerRecord(offset + 1, appended_ms, CE_TYPE_OF[Label], encode(label))
            )
        if len(records) >= BATCH_ROWS:
            yield _batch(records)
            records = []
    if records:
        yield _batch(records)


def _batch(records: list[ConsumerRecord]) -> RecordBatch:
    first, last = records[0].offset, records[-1].offset
    return RecordBatch(TOPIC, 0, "", first, last + 1, records)


def without_size_limits(limits: Any) -> Any:
    """The limits without those on sizes, which only matter for Kafka."""
    return msgspec.structs.replace(
        limits,
        max_update_bytes=1 << 31,
        max_features=100_000,
        max_value_bytes=1 << 24,
        max_string_bytes=1 << 16,
    )
