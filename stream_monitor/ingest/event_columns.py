"""The events of a batch (`producer.arrow_batch`) as checked columns; rejected rows one by one.

Rules are checked on whole columns.  A row that may break one is decoded to an event and validated
by itself, as a record of its own would be: so a batch is decided like its events one by one, and
only such rows cost an object.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from producer.arrow_batch import (
    FEATURE_PREFIX,
    METADATA_KEY,
    PREDICTION,
    SEGMENT_PREFIX,
    BatchMetadata,
)
from producer.codec import RejectedRecord, decode, encode, is_batch
from producer.events import Event, InferenceEvent, Prediction, Value
from producer.limits import LATEST_MS, Limits
from producer.validation import EventValidator
from producer.values import INT64_LIMIT, float_of
from stream_monitor.ingest.arrow_stream import (
    ArrowTable,
    Bools,
    Column,
    FixedColumn,
    Ints,
    MalformedArrow,
    TextColumn,
    read_arrow,
)
from stream_monitor.ingest.table import Table, ValueColumn

MALFORMED: Final = "malformed_arrow"
TOO_LARGE: Final = "too_large"
_KINDS: Final = frozenset({"value", "map", "list", "none"})
_metadata: Final = msgspec.json.Decoder(BatchMetadata).decode
_LIMITS: Final = Limits()
_ANY_SIZE: Final = 1 << 62
_UNSIGNED: Final = np.dtype("<u8")


class RejectedRow(NamedTuple):
    """A rejected event of a batch: its row, the reason, and the event as JSON."""

    row: int
    reason: str
    detail: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class EventColumns:
    """The accepted events of a batch, n of its ``n_rows`` rows, as columns of equal length n.

    ``rows`` are their places in the record; ``ids`` are hashes.
    """

    model: str
    version: str
    shadow: bool
    n_rows: int
    rows: Ints
    times_ms: Ints
    ids: NDArray[np.uint64]
    predictions: Sequence[Prediction | UnsetType]
    features: Table
    segments: Table

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice) -> EventColumns:
        """The events of a slice, in the same order."""
        return EventColumns(
            self.model,
            self.version,
            self.shadow,
            self.n_rows,
            self.rows[part],
            self.times_ms[part],
            self.ids[part],
            self.predictions[part],
            self.features[part],
            self.segments[part],
        )


def decode_columns(
    value: bytes, limits: Limits, timestamp_ms: int, validator: EventValidator
) -> tuple[EventColumns, list[RejectedRow]]:
    """Decode and validate a batch whose record has the timestamp ``timestamp_ms``.

    Raises:
        RejectedRecord: the whole record is rejected.
    """
    batch = _Batch.read(value, limits)
    meta = batch.metadata
    validator.validate_shared(meta.model, meta.version, batch.feature_names, batch.segment_names)
    if timestamp_ms > LATEST_MS:
        raise RejectedRecord("timestamp", "the record's timestamp is beyond the year 9999")
    rejected: list[RejectedRow] = []
    replaced: dict[int, Prediction | UnsetType] = {}
    for row in np.flatnonzero(batch.suspect(limits, timestamp_ms)).tolist():
        payload = b""
        try:
            event = batch.event(row)
            payload = _payload(event)
            validator.validate(event, timestamp_ms)
            replaced[row] = event.prediction
        except RejectedRecord as why:
            rejected.append(RejectedRow(row, why.reason, str(why), payload))
    predictions = list(batch.predictions())
    for row, prediction in replaced.items():
        predictions[row] = prediction
    features = {name: batch.values(FEATURE_PREFIX + name) for name in batch.feature_names}
    segments = {name: batch.values(SEGMENT_PREFIX + name) for name in batch.segment_names}
    n = batch.table.n_rows
    ids = batch.id_hashes()
    every = EventColumns(
        meta.model,
        meta.version,
        meta.shadow,
        n,
        np.arange(n, dtype=np.int64),
        batch.times_ms,
        ids,
        predictions,
        Table.of_columns(features, n),
        Table.of_columns(segments, n),
    )
    return (_without(every, [one.row for one in rejected]) if rejected else every), rejected


def events_in(value: bytes, kind: str | None, limits: Limits = _LIMITS) -> list[Event | None]:
    """The events of a record whose ``ce_type`` is ``kind``, none of them validated.

    ``None`` is a row of a batch that is no event.

    Raises:
        RejectedRecord: the record has no events.
    """
    return [*events_of_batch(value, limits)] if is_batch(value) else [decode(value, kind)]


def events_of_batch(value: bytes, limits: Limits = _LIMITS) -> list[InferenceEvent | None]:
    """The events of a batch, not validated; ``None`` for a row without id, time or valid Unicode.

    Raises:
        RejectedRecord: the record is no batch.
    """
    batch = _Batch.read(value, limits)
    found: list[InferenceEvent | None] = []
    for row, is_broken in enumerate(batch.has_broken_text().tolist()):
        try:
            found.append(None if is_broken else batch.event(row))
        except RejectedRecord:
            found.append(None)
    return found


def _payload(event: InferenceEvent) -> bytes:
    """The event as a record of its own; empty if its texts are no Unicode."""
    try:
        return encode(event)
    except UnicodeEncodeError:
        return b""


def _without(columns: EventColumns, rows: Sequence[int]) -> EventColumns:
    kept = np.delete(np.arange(columns.n_rows, dtype=np.int64), rows)
    return EventColumns(
        columns.model,
        columns.version,
        columns.shadow,
        columns.n_rows,
        columns.rows[kept],
        columns.times_ms[kept],
        columns.ids[kept],
        [columns.predictions[i] for i in kept.tolist()],
        columns.features.take(kept),
        columns.segments.take(kept),
    )


class _Batch:
    """A batch as it was read: its columns by name, and access to one row."""

    def __init__(self, table: ArrowTable, metadata: BatchMetadata) -> None:
        self.table, self.metadata = table, metadata
        self.feature_names = _names(table, FEATURE_PREFIX)
        self.segment_names = _names(table, SEGMENT_PREFIX)
        self.output_names = _names(table, f"{PREDICTION}.")
        ids, times = table.columns.get("id"), table.columns.get("time_ms")
        if ids is None or (isinstance(ids, FixedColumn) and ids.values.dtype.kind != "V"):
            raise MalformedArrow("column id: missing, or no text")
        if not isinstance(times, FixedColumn) or times.values.dtype.kind != "i":
            raise MalformedArrow("column time_ms: missing, or no integer")
        self._ids, self._times = ids, times
        self.times_ms = times.values.astype(np.int64)
        self._lists: dict[str, list[Any]] = {}
        self._predictions: list[Prediction | UnsetType] | None = None
        self._check_types()

    @classmethod
    def read(cls, value: bytes, limits: Limits) -> _Batch:
        """Read a batch.

        Raises:
            RejectedRecord: the record is no batch, or too large.
        """
        if len(value) > limits.max_batch_bytes:
            why = f"value: {len(value)} bytes, over {limits.max_batch_bytes}"
            raise RejectedRecord(TOO_LARGE, why)
        try:
            table = read_arrow(value, limits.max_batch_rows, limits.max_batch_cells)
            metadata = _metadata(table.metadata.get(METADATA_KEY, "").encode())
            return cls(table, metadata)
        except (MalformedArrow, msgspec.MsgspecError) as error:
            raise RejectedRecord(MALFORMED, str(error)) from error

    def _check_types(self) -> None:
        for name, column in self.table.columns.items():
            is_id = name == "id"
            if isinstance(column, FixedColumn) and column.values.dtype.kind == "V" and not is_id:
                raise MalformedArrow(f"column {name!a}: bytes are no value")
            if name.startswith(SEGMENT_PREFIX) and not isinstance(column, TextColumn):
                raise MalformedArrow(f"column {name!a}: a segment is text")
            if name.startswith(f"{PREDICTION}.") and not _is_number(column):
                raise MalformedArrow(f"column {name!a}: an output is a number")
        kind = self.metadata.prediction
        if not self.table.n_rows or kind not in _KINDS:
            raise MalformedArrow(f"no rows, or {kind!a} is no shape of a prediction")
        found = PREDICTION in self.table.columns, bool(self.output_names)
        if found != (kind == "value", kind in ("map", "list")):
            raise MalformedArrow(f"columns of predictions: not those of {kind!a}")

    def suspect(self, limits: Limits, timestamp_ms: int) -> Bools:
        """The rows that may break a rule, (n,)."""
        found = self._suspect_times(limits, timestamp_ms) | self._suspect_ids(limits)
        for name, column in self.table.columns.items():
            if isinstance(column, TextColumn) and name != "id":
                found |= _suspect_texts(column, limits.max_string_bytes)
        if len(self.output_names) > limits.max_features:
            found |= True
        return found

    def _suspect_times(self, limits: Limits, timestamp_ms: int) -> Bools:
        times = self.times_ms
        found = (times < 0) | (times > timestamp_ms + limits.max_skew_ms)
        if limits.max_event_age_ms is not None:
            found |= times < timestamp_ms - limits.max_event_age_ms
        return found if self._times.valid is None else found | ~self._times.valid

    def _suspect_ids(self, limits: Limits) -> Bools:
        ids = self._ids
        if isinstance(ids, TextColumn):
            found = _suspect_texts(ids, limits.max_string_bytes) | (ids.row_sizes() == 0)
        else:
            raw = ids.values.view(np.uint8).reshape(len(ids.values), -1)
            found = (raw >= 0x80).any(axis=1)
            if raw.shape[1] > limits.max_string_bytes:
                found |= True
        if ids.valid is not None:
            found = found | ~ids.valid
        return np.asarray(found, dtype=np.bool_)

    def has_broken_text(self) -> Bools:
        """The rows with a text that is no valid Unicode, (n,)."""
        found = np.zeros(self.table.n_rows, dtype=np.bool_)
        for column in self.table.columns.values():
            if isinstance(column, TextColumn):
                found |= _suspect_texts(column, _ANY_SIZE)
        if isinstance(self._ids, FixedColumn):
            raw = self._ids.values.view(np.uint8).reshape(self.table.n_rows, -1)
            for row in np.flatnonzero((raw >= 0x80).any(axis=1)).tolist():
                found[row] |= not _is_unicode(self._id(row) or "")
        return found

    def id_hashes(self) -> NDArray[np.uint64]:
        """The hash of each id, (n,)."""
        ids = self._ids
        if isinstance(ids, TextColumn):
            hashed = [
                xxh3_64_intdigest((text or "").encode("utf-8", "surrogateescape"))
                for text in ids.to_list()
            ]
        else:
            width, raw = ids.values.dtype.itemsize, ids.values.tobytes()
            starts = range(0, len(raw), width)
            hashed = [xxh3_64_intdigest(raw[start : start + width]) for start in starts]
        return np.array(hashed, dtype=np.uint64)

    def values(self, name: str) -> ValueColumn:
        """The values of a column as the checks take them: a missing one is NaN or ``None``."""
        column = self.table.columns[name]
        if isinstance(column, TextColumn):
            return column.to_list()
        values, valid = column.values, column.valid
        if values.dtype.kind == "f":
            floats = values.astype(np.float64)
            missing = ~np.isfinite(floats)
            if valid is not None:
                missing |= ~valid
            if missing.any():
                floats[missing] = np.nan
            return floats
        if valid is None and values.dtype != _UNSIGNED:
            return values if values.dtype.kind == "b" else values.astype(np.int64)
        return self._plain(name)

    def _plain(self, name: str) -> list[Any]:
        """The values of a column, ``None`` where there is none."""
        found = self._lists.get(name)
        if found is None:
            found = self._lists[name] = _to_list(self.table.columns[name])
        return found

    def predictions(self) -> list[Prediction | UnsetType]:
        """The predictions of all rows; an invalid one is ``None``."""
        if self._predictions is None:
            self._predictions = self._read_predictions()
        return self._predictions

    def _read_predictions(self) -> list[Prediction | UnsetType]:
        n, kind = self.table.n_rows, self.metadata.prediction
        if kind == "none":
            return [UNSET] * n
        if kind == "value":
            return self._plain(PREDICTION)
        names = self.output_names
        outputs = [list(map(float_of, self._plain(f"{PREDICTION}.{name}"))) for name in names]
        rows = zip(*outputs, strict=True)
        if kind == "list":
            return [list(row) for row in rows]
        return [dict(zip(names, row, strict=True)) for row in rows]

    def event(self, row: int) -> InferenceEvent:
        """The event of a row.

        Raises:
            RejectedRecord: it has no id or no time.
        """
        id_text, time_ms = self._id(row), self._plain("time_ms")[row]
        if id_text is None or time_ms is None:
            raise RejectedRecord("invalid_event", "id or time_ms: none")
        segment = {name: self._plain(SEGMENT_PREFIX + name)[row] for name in self.segment_names}
        features = {name: self._plain(FEATURE_PREFIX + name)[row] for name in self.feature_names}
        return InferenceEvent(
            id=id_text,
            model=self.metadata.model,
            version=self.metadata.version,
            time_ms=time_ms,
            features={name: value for name, value in features.items() if value is not None},
            prediction=self.predictions()[row],
            segment={name: value for name, value in segment.items() if value is not None} or None,
            shadow=self.metadata.shadow,
        )

    def _id(self, row: int) -> str | None:
        if self._ids.valid is not None and not self._ids.valid[row]:
            return None
        if isinstance(self._ids, TextColumn):
            return self._ids.texts[int(self._ids.row_index[row])]
        return bytes(self._ids.values[row].tobytes()).decode("utf-8", "surrogateescape")


def _names(table: ArrowTable, prefix: str) -> list[str]:
    return [name.removeprefix(prefix) for name in table.columns if name.startswith(prefix)]


def _is_number(column: Column) -> bool:
    return isinstance(column, FixedColumn) and column.values.dtype.kind in "fiu"


def _suspect_texts(column: TextColumn, max_bytes: int) -> Bools:
    """The rows whose text is too long, or no valid Unicode."""
    broken = np.array([not _is_unicode(text) for text in column.texts], dtype=np.bool_)
    bad_text = broken | (column.sizes > max_bytes)
    if not bad_text.any():
        return np.zeros(len(column.row_index), dtype=np.bool_)
    found: Bools = bad_text[column.row_index]
    return found if column.valid is None else found & column.valid


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _to_list(column: Column) -> list[Value]:
    """The values of a column as those of a record; ``None`` where there is none."""
    if isinstance(column, TextColumn):
        return list(column.to_list())
    values: list[Any] = column.values.tolist()
    if column.values.dtype.kind == "f" and not np.isfinite(column.values).all():
        values = [v if v - v == 0 else None for v in values]
    if column.values.dtype == _UNSIGNED:
        values = [v if v < INT64_LIMIT else float(v) for v in values]
    if column.valid is not None:
        ok: Sequence[bool] = column.valid.tolist()
        values = [v if known else None for v, known in zip(values, ok, strict=True)]
    return values
