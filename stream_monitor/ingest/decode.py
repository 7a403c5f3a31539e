"""Decodes record bytes to events.  Total: any bytes give an event or a dead letter.

Records of one event each, all of one version, become columns a few hundred at a time: while they
are in the processor's cache, and before the next ones are decoded.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import compress
from operator import attrgetter
from typing import Final, NamedTuple, TypeAlias

import msgspec
import numpy as np

from producer.codec import RejectedRecord, inference_event_of, is_batch
from producer.codec import decode as decode_value
from producer.events import CE_TYPE_OF, Event, InferenceEvent, ModelUpdate
from producer.limits import Limits
from producer.validation import EventValidator
from stream_monitor.contracts import DeadLetter
from stream_monitor.ingest.batch import EventRun
from stream_monitor.ingest.columns import ROWS_AT_ONCE, to_batch
from stream_monitor.ingest.event_columns import MALFORMED, EventColumns, decode_columns
from stream_monitor.ingest.event_shapes import EventShapes
from stream_monitor.ingest.records import ConsumerRecord, RecordBatch, RecordColumns
from stream_monitor.ingest.rejection import build_dead_letter

_UPDATE = CE_TYPE_OF[ModelUpdate]
_NO_EVENT: Final = frozenset(
    {"null_value", "too_large", "unknown_kind", "invalid_event", "malformed_json", MALFORMED}
)
"""Reasons of values that are no event; all others are rules that a decoded event violated."""
_MIN_RUN_RECORDS: Final = 64
"""Shorter runs do not repay the arrays of their columns."""
DecodedRecord: TypeAlias = tuple[ConsumerRecord, Event | DeadLetter | EventColumns | EventRun]
"""A record with what it holds, or the first record of a run."""
EventKey: TypeAlias = tuple[str, str, bool]
"""The model, the version, and whether the prediction was not used."""
event_key: Final = attrgetter("model", "version", "shadow")


class Decoded(NamedTuple):
    """The decoded records of a batch, in offset order; each record is in one of the lists.

    ``columns`` has the records of many events, whose rejected rows are among ``rejected``;
    ``runs`` has consecutive records of one event each, with the first record of each run.
    """

    entries: list[tuple[ConsumerRecord, Event]]
    rejected: list[tuple[ConsumerRecord, DeadLetter]]
    columns: Sequence[tuple[ConsumerRecord, EventColumns]] = ()
    runs: Sequence[tuple[ConsumerRecord, EventRun]] = ()

    @property
    def dead_letters(self) -> list[DeadLetter]:
        """The dead letters of the rejected records."""
        return [dead_letter for _, dead_letter in self.rejected]

    def all(self) -> Sequence[DecodedRecord]:
        """Every record, in offset order, with its event or its dead letter.

        A batch comes before the dead letters of its rows.
        """
        lists: tuple[Sequence[DecodedRecord], ...]
        lists = (self.entries, self.runs, self.columns, self.rejected)
        found = [entry for entries in lists for entry in entries]
        if sum(map(bool, lists)) > 1:
            found.sort(key=lambda entry: entry[0].offset)
        return found


class BatchDecoder:
    """Decodes batches one after another; it learns the shapes of events to decode faster."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._validator = EventValidator(limits)
        self._shapes = EventShapes(limits)

    def decode(self, batch: RecordBatch, *, as_runs: bool = False) -> Decoded:
        """Decode and validate every record of ``batch``; never raises, whatever the bytes are.

        The checks run in the order of their cost: no value, size, form, names, number of features,
        lengths of strings, event time against the record's timestamp.  A value that is not finite
        or too large does not reject its event: it becomes an invalid value.

        ``as_runs``: valid events of one version that follow each other become columns.
        """
        columns: list[tuple[ConsumerRecord, EventColumns]] = []
        runs: list[tuple[ConsumerRecord, EventRun]] = []
        decoded = Decoded([], [], columns, runs)
        records = RecordColumns.of(batch.records)
        for start in range(0, len(records), ROWS_AT_ONCE):
            run = records[start : start + ROWS_AT_ONCE]
            events, found, keys = self._shaped(run)
            if len(found) == len(run):
                key = only_version(keys)
                if as_runs and len(run) >= _MIN_RUN_RECORDS and key is not None:
                    runs.append((run[0], _run_of(*key, run, found)))
                else:
                    decoded.entries.extend(zip(run, found, strict=True))
                continue
            for record, event in zip(run, events, strict=True):
                if event is None and is_batch(record.value):
                    self._decode_batch(batch, record, columns, decoded.rejected)
                elif event is None:
                    self._decode_one(batch, record, decoded)
                else:
                    decoded.entries.append((record, event))
        return decoded

    def _shaped(
        self, run: RecordColumns
    ) -> tuple[list[InferenceEvent | None], list[InferenceEvent], set[EventKey]]:
        """The valid inference events of known features; ``None`` for all other records.

        Then these events alone, and their keys.  If one of them may be invalid, none is returned:
        each record is looked at alone.
        """
        events = self._shapes.decode(run)
        found = [event for event in events if event is not None]
        times_ms = run.timestamps_ms
        if len(found) < len(run):
            times_ms = list(compress(times_ms, [event is not None for event in events]))
        keys: set[EventKey] = set(map(event_key, found))
        names = {name for model, version, _ in keys for name in (model, version)}
        if found and not self._validator.all_valid(found, names, times_ms):
            return [None] * len(run), [], set()
        return events, found, keys

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


def only_version(keys: Collection[EventKey]) -> tuple[str, str] | None:
    """The one model and version of used predictions; ``None`` if there are others.

    >>> only_version({("m", "1", False)}), only_version({("m", "1", True)})
    (('m', '1'), None)
    """
    if len(keys) != 1:
        return None
    model, version, shadow = next(iter(keys))
    return None if shadow else (model, version)


def _run_of(
    model: str, version: str, run: RecordColumns, events: Sequence[InferenceEvent]
) -> EventRun:
    """Consecutive records of one valid event each, all of one version, as columns."""
    timestamps_ms = np.array(run.timestamps_ms, dtype=np.int64)
    return EventRun(to_batch(model, version, run.offsets, events), timestamps_ms)


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
