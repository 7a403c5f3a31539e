"""Batches of inference events: one record holds the events of many predictions as Arrow columns.

The value is an Arrow IPC stream with one record batch, without compression of its own: Kafka
compresses records.  All of its events are of one model, one version and one key.  pandas, polars
and DuckDB open it as it is.  The metadata of its schema has the key ``driftline``, JSON:

=================  ======================================================================
``model``          the model
``version``        the version
``shadow``         whether the predictions were not used; absent means false
``prediction``     ``value`` (column ``prediction``), ``map`` or ``list`` (columns
                   ``prediction.NAME``), or ``none``: the events have only inputs
=================  ======================================================================

and the columns are

=================  ======================================================================
``id``             text, or fixed-size binary: its UTF-8 bytes
``time_ms``        int64
``features.NAME``  float64, int64, bool or text; a null is a missing value
``prediction…``    float64, int64, bool or text; a null is an invalid prediction
``segment.NAME``   text
=================  ======================================================================

An event that does not fit the columns (a text in a column of numbers) is sent as a record of its
own.  The events of the record at offset o are the events (o, 0), (o, 1), … in order.
"""

from __future__ import annotations

import io
from array import array
from collections.abc import Iterable, Sequence
from math import isfinite
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from producer.cloudevents import Headers, cloudevent_headers
from producer.events import InferenceEvent, Prediction
from producer.limits import Limits

BATCH_CE_TYPE: Final = "io.driftline.inference-batch.v1"
BATCH_CONTENT_TYPE: Final = "application/vnd.apache.arrow.stream"
METADATA_KEY: Final = "driftline"
FEATURE_PREFIX: Final = "features."
PREDICTION: Final = "prediction"
SEGMENT_PREFIX: Final = "segment."
_EXACT_INTEGER: Final = 1 << 53
"""A float has every integer up to here."""

Cell: TypeAlias = float | int | str | bool | None
PredictionShape: TypeAlias = tuple[str, tuple[str, ...]]
"""Kind of the prediction of each event (`BatchMetadata.prediction`), and names of its columns."""


class BatchMetadata(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The fields that all events of a batch have in common."""

    model: str
    version: str
    prediction: str
    shadow: bool = False


class PackedBatch(NamedTuple):
    """A record value with the ``packed`` events; the ``others`` do not fit its columns."""

    value: bytes
    packed: Sequence[InferenceEvent]
    others: Sequence[InferenceEvent]


class ArrowMissing(ImportError):  # noqa: N818 - names what is missing
    """The package nanoarrow, which writes batches, is not installed."""

    def __init__(self) -> None:
        super().__init__("batches need the package nanoarrow: pip install 'driftline[arrow]'")


def require_arrow() -> None:
    """Check that batches can be written.

    Raises:
        ArrowMissing: they cannot.
    """
    try:
        import nanoarrow  # noqa: F401, PLC0415 - an extra
    except ImportError as error:
        raise ArrowMissing from error


def batch_headers(batch_id: str, source: str) -> Headers:
    """Build the headers of a batch."""
    return [
        (name, BATCH_CONTENT_TYPE.encode()) if name == "content-type" else (name, value)
        for name, value in cloudevent_headers(BATCH_CE_TYPE, batch_id, source)
    ]


def prediction_shape(prediction: Prediction | UnsetType) -> PredictionShape | None:
    """Return the columns that a prediction needs; ``None`` if a batch cannot hold it.

    >>> prediction_shape(0.5), prediction_shape({"a": 0.2, "b": 0.8}), prediction_shape([[1]])
    (('value', ()), ('map', ('a', 'b')), None)
    """
    if prediction is UNSET:
        return "none", ()
    if isinstance(prediction, dict):
        return ("map", tuple(sorted(prediction))) if _all_numbers(prediction.values()) else None
    if isinstance(prediction, list):
        names = tuple(map(str, range(len(prediction))))
        return ("list", names) if _all_numbers(prediction) else None
    return "value", ()


def _all_numbers(outputs: Iterable[Any]) -> bool:
    values = list(outputs)
    return bool(values) and all(type(v) in (float, int) and isfinite(v) for v in values)


def pack(events: Sequence[InferenceEvent]) -> PackedBatch:
    """Pack events of one model, version and prediction shape, shadows or not, into one record.

    Raises:
        ValueError: no event fits, or the events differ in what a batch shares.
    """
    first = events[0]
    shape = prediction_shape(first.prediction)
    shared = {
        (event.model, event.version, event.shadow, prediction_shape(event.prediction))
        for event in events
    }
    if shape is None or len(shared) > 1:
        raise ValueError("the events of a batch differ in model, version, shadow or prediction")
    packed, others = _rows_that_fit(events)
    if not packed:
        raise ValueError("no event fits into the columns of a batch")
    metadata = BatchMetadata(
        model=first.model, version=first.version, prediction=shape[0], shadow=first.shadow
    )
    value = _encode(packed, _columns(packed, shape), metadata)
    return PackedBatch(value, packed, others)


def _rows_that_fit(
    events: Sequence[InferenceEvent],
) -> tuple[Sequence[InferenceEvent], Sequence[InferenceEvent]]:
    """The events whose values fit the columns that the first ones decide, and the others."""
    kinds: dict[str, str] = {}
    packed: list[InferenceEvent] = []
    others: list[InferenceEvent] = []
    for event in events:
        mine = {
            **{FEATURE_PREFIX + name: _kind(value) for name, value in event.features.items()},
            PREDICTION: _kind(event.prediction),
        }
        new = {name: kind for name, kind in mine.items() if kind and name not in kinds}
        fits = all(kinds.get(name, kind) == kind for name, kind in mine.items() if kind)
        if not fits or "other" in mine.values() or len(kinds) + len(new) > Limits().max_features:
            others.append(event)
            continue
        kinds.update(new)
        packed.append(event)
    return packed, others


def _kind(value: Any) -> str:
    """The kind of column that holds a value; empty for a value that any column holds."""
    of = type(value)
    if of is float:
        return "number" if isfinite(value) else ""
    if of is int:
        return "number" if -_EXACT_INTEGER <= value <= _EXACT_INTEGER else "other"
    if of is bool:
        return "bool"
    if of is str:
        return "text"
    return ""


def _columns(events: Sequence[InferenceEvent], shape: PredictionShape) -> dict[str, Sequence[Cell]]:
    columns: dict[str, Sequence[Cell]] = {}
    for name in dict.fromkeys(name for event in events for name in event.features):
        columns[FEATURE_PREFIX + name] = [event.features.get(name) for event in events]
    kind, names = shape
    values: list[Any] = [event.prediction for event in events]
    if kind == "value":
        columns[PREDICTION] = values
    for i, name in enumerate(names):
        key: Any = name if kind == "map" else i
        columns[f"{PREDICTION}.{name}"] = [value[key] for value in values]
    segments = [event.segment or {} for event in events]
    for name in dict.fromkeys(name for segment in segments for name in segment):
        columns[SEGMENT_PREFIX + name] = [segment.get(name) for segment in segments]
    return columns


def _encode(
    events: Sequence[InferenceEvent], columns: dict[str, Sequence[Cell]], metadata: BatchMetadata
) -> bytes:
    """Encode the ids and times of n events, and columns of n values."""
    import nanoarrow as na  # noqa: PLC0415 - an extra
    from nanoarrow.ipc import StreamWriter  # noqa: PLC0415

    n = len(events)
    types = {"id": _id_type(na, events), "time_ms": na.int64(nullable=False)}
    times_ms = array("q", [event.time_ms for event in events])
    children = [_ids(na, types["id"], events), _buffer(na, types["time_ms"], times_ms)]
    for name, values in columns.items():
        types[name], child = _column(na, values)
        children.append(child)
    schema = na.c_schema(na.struct(types, nullable=False)).modify(
        metadata={METADATA_KEY: msgspec.json.encode(metadata)}
    )
    batch = na.c_array_from_buffers(schema, n, [None], null_count=0, children=children)
    out = io.BytesIO()
    with StreamWriter.from_writable(out) as writer:
        writer.serialize_stream(batch)
    return out.getvalue()


def _id_type(na: Any, events: Sequence[InferenceEvent]) -> Any:
    """Fixed-size binary where all ids have one length, as those of the logger do."""
    sizes = {len(event.id.encode()) for event in events}
    if len(sizes) > 1:
        return na.string(nullable=False)
    return na.fixed_size_binary(sizes.pop(), nullable=False)


def _ids(na: Any, of: Any, events: Sequence[InferenceEvent]) -> Any:
    texts = [event.id for event in events]
    if of.type == na.Type.STRING:
        return na.c_array(texts, of)
    return na.c_array_from_buffers(of, len(texts), [None, "".join(texts).encode()], null_count=0)


def _buffer(na: Any, of: Any, values: array[Any]) -> Any:
    return na.c_array_from_buffers(of, len(values), [None, values], null_count=0)


def _column(na: Any, values: Sequence[Any]) -> tuple[Any, Any]:
    """The type of a column, and the column."""
    kinds = set(map(type, values))
    if kinds <= {float, int, type(None)}:
        whole = float not in kinds and int in kinds
        of = na.int64() if whole else na.float64()
        try:
            plain: array[Any] = array("q" if whole else "d", values)
            if whole or all(map(isfinite, plain)):
                return of, _buffer(na, of, plain)
        except TypeError:
            pass  # a value is missing
        return of, na.c_array([None if v is None or not isfinite(v) else v for v in values], of)
    of = na.bool_() if bool in kinds else na.string()
    return of, na.c_array([v if isinstance(v, bool | str) else None for v in values], of)
