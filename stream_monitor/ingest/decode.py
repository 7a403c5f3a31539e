"""Decodes record bytes to events.  Total: any bytes give an event or a dead letter.

Most events of a producer have the same features.  A decoder made for these names needs neither a
dict for each event nor a check of each name and value: half of the cost.  It accepts fewer events
than `producer.codec` and `producer.validation` do, and decodes those to equal values; all others
take the general way.  So what it has learned decides the speed, and never a result.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import compress
from typing import Annotated, Any, Final, NamedTuple, cast

import msgspec
from msgspec import Meta

from producer.codec import RejectedRecord, inference_event_of, is_batch
from producer.codec import decode as decode_value
from producer.events import CE_TYPE_OF, Event, InferenceEvent, ModelUpdate, Value
from producer.limits import Limits
from producer.validation import EventValidator
from producer.values import INT64_LIMIT
from stream_monitor.contracts import DeadLetter
from stream_monitor.ingest.event_columns import MALFORMED, EventColumns, decode_columns
from stream_monitor.ingest.records import ConsumerRecord, RecordBatch
from stream_monitor.ingest.rejection import build_dead_letter

_UPDATE = CE_TYPE_OF[ModelUpdate]
_NO_EVENT: Final = frozenset(
    {"null_value", "too_large", "unknown_kind", "invalid_event", "malformed_json", MALFORMED}
)
"""Reasons of values that are no event; all others are rules that a decoded event violated."""
_UNNAMEABLE: Final = re.compile(r'["\\]')
"""Names that a field of a struct cannot have; their events are decoded one by one."""
_UNDECODABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_RUN_RECORDS: Final = 256
"""If one event of a run may be invalid, each of the run is looked at alone."""


_MAX_SHAPES: Final = 4_096
_MAX_CHANGES: Final = 8
"""A producer that names new features more often has no shape."""
_Integer = Annotated[int, Meta(ge=-INT64_LIMIT, le=INT64_LIMIT - 1)]


class Decoded(NamedTuple):
    """The decoded records of a batch, in offset order; each record is in one of the lists.

    ``columns`` has the records of many events, whose rejected rows are among ``rejected``.
    """

    entries: list[tuple[ConsumerRecord, Event]]
    rejected: list[tuple[ConsumerRecord, DeadLetter]]
    columns: Sequence[tuple[ConsumerRecord, EventColumns]] = ()

    @property
    def dead_letters(self) -> list[DeadLetter]:
        """The dead letters of the rejected records."""
        return [dead_letter for _, dead_letter in self.rejected]

    def all(self) -> Sequence[tuple[ConsumerRecord, Event | DeadLetter | EventColumns]]:
        """Every record, in offset order, with its event or its dead letter.

        A batch comes before the dead letters of its rows.
        """
        if not self.rejected and not self.columns:
            return self.entries
        both: list[tuple[ConsumerRecord, Event | DeadLetter | EventColumns]] = []
        both += [*self.entries, *self.columns, *self.rejected]
        both.sort(key=lambda entry: entry[0].offset)
        return both


class FeatureRow(msgspec.Struct, frozen=True, gc=False):
    """The features of one event, as fields in a fixed order; an absent feature is ``None``."""

    def as_dict(self) -> dict[str, Value]:
        """The features that are there, by name."""
        names = self.__struct_encode_fields__
        values = zip(names, msgspec.structs.astuple(self), strict=True)
        return {name: value for name, value in values if value is not None}


class _Shape:
    """The decoder of the events of one record key."""

    def __init__(self, names: Sequence[str], limits: Limits, n_changes: int) -> None:
        self.names, self.n_changes = frozenset(names), n_changes
        chars = limits.max_string_bytes // 4  # UTF-8 takes at most 4 bytes a character
        value = float | _Integer | Annotated[str, Meta(max_length=chars)] | bool | None
        row = msgspec.defstruct(
            "Row",
            [(f"f{i}", value, None) for i in range(len(names))],
            bases=(FeatureRow,),
            rename={f"f{i}": name for i, name in enumerate(names)},
            forbid_unknown_fields=True,
            frozen=True,
            gc=False,
        )
        event = msgspec.defstruct(
            "Event",
            [
                ("id", Annotated[str, Meta(min_length=1, max_length=chars)]),
                ("time_ms", Annotated[int, Meta(ge=0)]),
                ("features", row),
            ],
            bases=(InferenceEvent,),
            kw_only=True,
            frozen=True,
            gc=False,
        )
        self.decode: Callable[[bytes], Any] = msgspec.json.Decoder(event).decode


class EventShapes:
    """The shapes of the events seen so far, by the key of their records."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._shapes: dict[bytes | None, _Shape | None] = {}

    def learn(self, key: bytes | None, event: InferenceEvent) -> None:
        """Learn the features of a valid event that `decode` did not decode."""
        known = self._shapes.get(key)
        if known is None and key in self._shapes:
            return
        names = event.features.keys() | (known.names if known else ())
        n_changes = known.n_changes + 1 if known else 0
        if known and names == known.names:
            return
        if (
            n_changes > _MAX_CHANGES
            or len(names) > self._limits.max_features
            or any(_UNNAMEABLE.search(name) for name in names)
        ):
            self._shapes[key] = None
            return
        if len(self._shapes) >= _MAX_SHAPES:
            self._shapes.clear()
        self._shapes[key] = _Shape(sorted(names), self._limits, n_changes)

    def decode(self, records: Sequence[ConsumerRecord]) -> list[InferenceEvent | None]:
        """Return the inference events of valid records; ``None`` for an unknown shape."""
        shape_of, max_bytes = self._shapes.get, self._limits.max_value_bytes
        keys = {record.key for record in records}
        values = [record.value for record in records]
        if len(keys) == 1 and set(map(type, values)) == {bytes}:
            shape = shape_of(keys.pop())
            if shape is not None and max(map(len, cast("list[bytes]", values))) <= max_bytes:
                return _decoded(shape.decode, cast("list[bytes]", values))
        found: list[InferenceEvent | None] = []
        for record, value in zip(records, values, strict=True):
            shape, event = shape_of(record.key), None
            if shape is not None and value is not None and len(value) <= max_bytes:
                try:
                    event = shape.decode(value)
                except _UNDECODABLE:
                    event = None
            found.append(event)
        return found


def _decoded(decode_one: Callable[[bytes], Any], values: list[bytes]) -> list[Any]:
    """The decoded values; ``None`` for one that cannot be decoded."""
    found: list[Any] = []
    rest = iter(values)
    while len(found) < len(values):
        try:
            found.extend(map(decode_one, rest))
        except _UNDECODABLE:  # the list has the values before this one
            found.append(None)
    return found


class BatchDecoder:
    """Decodes batches one after another; it learns the shapes of events to decode faster."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._validator = EventValidator(limits)
        self._shapes = EventShapes(limits)

    def decode(self, batch: RecordBatch) -> Decoded:
        """Decode and validate every record of ``batch``; never raises, whatever the bytes are.

        The checks run in the order of their cost: no value, size, form, names, number of features,
        lengths of strings, event time against the record's timestamp.  A value that is not finite
        or too large does not reject its event: it becomes an invalid value.
        """
        columns: list[tuple[ConsumerRecord, EventColumns]] = []
        decoded = Decoded([], [], columns)
        for start in range(0, len(batch.records), _RUN_RECORDS):
            run = batch.records[start : start + _RUN_RECORDS]
            events = self._shaped(run)
            if type(None) not in set(map(type, events)):
                decoded.entries.extend(zip(run, cast("list[Event]", events), strict=True))
                continue
            for record, event in zip(run, events, strict=True):
                if event is None and is_batch(record.value):
                    self._decode_batch(batch, record, columns, decoded.rejected)
                elif event is None:
                    self._decode_one(batch, record, decoded)
                else:
                    decoded.entries.append((record, event))
        return decoded

    def _shaped(self, run: Sequence[ConsumerRecord]) -> list[InferenceEvent | None]:
        """The valid inference events of known features; ``None`` for all other records."""
        events = self._shapes.decode(run)
        found = [event for event in events if event is not None]
        times_ms = [record.timestamp_ms for record in run]
        if len(found) < len(run):
            times_ms = list(compress(times_ms, [event is not None for event in events]))
        if found and not self._validator.all_valid(found, times_ms):
            return [None] * len(run)
        return events

    def _decode_one(self, batch: RecordBatch, record: ConsumerRecord, decoded: Decoded) -> None:
        """Decode and validate one record, and add it to ``decoded``."""
        try:
            value = _check_size(record, self._limits)
            event = inference_event_of(value) or decode_value(value, record.kind)
            self._validator.validate(event, record.timestamp_ms)
        except RejectedRecord as rejection:
            decoded.rejected.append((record, self._dead_letter(batch, record, rejection)))
            return
        decoded.entries.append((record, event))
        if isinstance(event, InferenceEvent):
            self._shapes.learn(record.key, event)

    def _dead_letter(
        self, batch: RecordBatch, record: ConsumerRecord, rejection: RejectedRecord
    ) -> DeadLetter:
        return build_dead_letter(
            batch.topic,
            batch.partition,
            record,
            rejection.reason,
            str(rejection),
            self._limits.max_payload_bytes,
            decoded=rejection.reason not in _NO_EVENT,
        )

    def _decode_batch(
        self,
        batch: RecordBatch,
        record: ConsumerRecord,
        columns: list[tuple[ConsumerRecord, EventColumns]],
        rejected: list[tuple[ConsumerRecord, DeadLetter]],
    ) -> None:
        """Decode and validate the events of one record."""
        value, stamped_ms = record.value or b"", record.timestamp_ms
        try:
            events, bad = decode_columns(value, self._limits, stamped_ms, self._validator)
        except RejectedRecord as rejection:
            rejected.append((record, self._dead_letter(batch, record, rejection)))
            return
        columns.append((record, events))
        for row, reason, detail, payload in bad:
            of_row = msgspec.structs.replace(record, value=payload)
            dead_letter = self._dead_letter(batch, of_row, RejectedRecord(reason, detail))
            rejected.append((record, msgspec.structs.replace(dead_letter, row=row)))


def decode(batch: RecordBatch, limits: Limits) -> Decoded:
    """Decode and validate every record of one ``batch``; see `BatchDecoder.decode`."""
    return BatchDecoder(limits).decode(batch)


def _check_size(record: ConsumerRecord, limits: Limits) -> bytes:
    """Return the value; raises `RejectedRecord` where there is none or it is too large."""
    value = record.value
    if value is None:
        raise RejectedRecord("null_value", "value: none; the event topic is not compacted")
    if len(value) > limits.max_value_bytes:
        bound = limits.max_update_bytes if record.kind == _UPDATE else limits.max_value_bytes
        if len(value) > bound:
            raise RejectedRecord("too_large", f"value: {len(value)} bytes, over {bound}")
    return value
