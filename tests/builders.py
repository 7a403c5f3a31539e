"""Alerts, events, records and batches: a test names the fields it is about, no others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
import numpy as np

from producer.codec import encode
from producer.events import CE_TYPE_OF, Command, Event, InferenceEvent, Prediction, Value
from stream_monitor.contracts import DeadLetter, DriftAlert
from stream_monitor.ingest.records import ConsumerRecord, RecordBatch
from stream_monitor.ingest.table import Table
from stream_monitor.labels.join import Predictions
from stream_monitor.state_parts import StoredParts, encode_part


def inference_event(
    name: str = "e",
    features: Mapping[str, Value] | None = None,
    prediction: Prediction | None = 0.5,
    *,
    model: str = "m",
    version: str = "1",
    time_ms: int = 0,
    segment: dict[str, str] | None = None,
    shadow: bool = False,
) -> InferenceEvent:
    """One prediction of ``model`` for the event with id ``name``; ``x`` is its feature."""
    return InferenceEvent(
        id=name,
        model=model,
        version=version,
        time_ms=time_ms,
        features={"x": 1.0} if features is None else dict(features),
        prediction=prediction,
        segment=segment,
        shadow=shadow,
    )


def record_of(offset: int, event: Event | bytes, timestamp_ms: int = 0) -> ConsumerRecord:
    """The record of an event; bytes are a record without a kind."""
    if isinstance(event, bytes):
        return ConsumerRecord(offset, timestamp_ms, None, event)
    return ConsumerRecord(offset, timestamp_ms, CE_TYPE_OF[type(event)], encode(event))


def batch_of(records: list[ConsumerRecord], topic: str = "t", partition: int = 0) -> RecordBatch:
    """Consecutive records of a partition as one fetch."""
    return RecordBatch(topic, partition, "e", records[0].offset, records[-1].offset + 1, records)


def alert(**changes: object) -> DriftAlert:
    """A first alert of an episode of ``temp``, decided at offset 10."""
    plain = DriftAlert(
        alert_id="a",
        episode_id="e",
        phase="started",
        kind="data",
        severity="medium",
        model="m",
        version="1",
        series="feature/temp",
        feature="temp",
        detector="adwin",
        channel="location",
        direction="up",
        effect=0.2,
        p_value=1e-6,
        window_events=500,
        explanation="temp: moved",
        reference="training",
        topic="t",
        partition=0,
        onset_offset=1,
        onset_ms=1,
        detected_offset=5,
        detected_ms=5,
        decided_offset=10,
        decided_ms=10,
    )
    return msgspec.structs.replace(plain, **changes)


def dead_letter(offset: int = 0, **changes: object) -> DeadLetter:
    """An event of ``fraud`` that was rejected at this offset."""
    plain = DeadLetter(
        topic="t",
        partition=0,
        offset=offset,
        timestamp_ms=0,
        reason="invalid_event",
        detail="",
        sha256="",
        size_bytes=1,
        model="fraud",
        source="/svc",
    )
    return msgspec.structs.replace(plain, **changes)


def command(action: str, **changes: object) -> Command:
    """A command of ``ann`` about episode ``e``."""
    plain = Command(id="c", model="m", action="resolve", episode="e", actor="ann", time_ms=0)
    return msgspec.structs.replace(plain, action=action, **changes)


def table_of(columns: Mapping[str, Sequence[Any]], n_rows: int = 0) -> Table:
    """A table of these columns, or of so many empty rows."""
    if not columns:
        return Table([{}] * n_rows)
    return Table(
        [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    )


def stored(parts: Mapping[str, Any]) -> StoredParts:
    """The parts that a component wrote, as it reads them back."""
    return StoredParts({n: encode_part(part) for n, part in parts.items() if part is not None})


PredictionRow: TypeAlias = tuple[int, int, int, str, Prediction]
"""Offset, event time, hash of the id, version, prediction."""


def predictions_of(rows: Sequence[PredictionRow]) -> Predictions:
    """The rows as the columns that a join of labels takes."""
    offsets, times_ms, ids, versions, values = zip(*rows, strict=True) if rows else ((),) * 5
    return Predictions(
        np.array(offsets, dtype=np.int64),
        np.array(times_ms, dtype=np.int64),
        np.array(ids, dtype=np.uint64),
        versions,
        values,
    )
