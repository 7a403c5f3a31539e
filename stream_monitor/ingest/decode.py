"""Decodes record bytes to events.  Total: any bytes give an event or a dead letter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from producer.codec import RejectedRecord
from producer.codec import decode as decode_value
from producer.events import CE_TYPE_OF, Event, ModelUpdate
from producer.limits import Limits
from producer.validation import EventValidator
from stream_monitor.contracts import DeadLetter
from stream_monitor.ingest.records import ConsumerRecord, RecordBatch
from stream_monitor.ingest.rejection import build_dead_letter

_UPDATE = CE_TYPE_OF[ModelUpdate]
_NO_EVENT: Final = frozenset(
    {"null_value", "too_large", "unknown_kind", "invalid_event", "malformed_json"}
)
"""Reasons of values that are no event; all others are rules that a decoded event violated."""


class Decoded(NamedTuple):
    """The decoded records of a batch, in offset order; each record is in one of the two lists."""

    entries: list[tuple[ConsumerRecord, Event]]
    rejected: list[tuple[ConsumerRecord, DeadLetter]]

    @property
    def dead_letters(self) -> list[DeadLetter]:
        """The dead letters of the rejected records."""
        return [dead_letter for _, dead_letter in self.rejected]

    def all(self) -> Sequence[tuple[ConsumerRecord, Event | DeadLetter]]:
        """Every record, in offset order, with its event or its dead letter."""
        if not self.rejected:
            return self.entries
        both: list[tuple[ConsumerRecord, Event | DeadLetter]] = [*self.entries, *self.rejected]
        both.sort(key=lambda entry: entry[0].offset)
        return both


def decode(batch: RecordBatch, limits: Limits) -> Decoded:
    """Decode and validate every record of ``batch``; never raises, whatever the bytes are.

    The checks run in the order of their cost: no value, size, form, names, number of features,
    lengths of strings, event time against the record's timestamp.  A value that is not finite or
    too large does not reject its event: it becomes an invalid value.
    """
    entries: list[tuple[ConsumerRecord, Event]] = []
    rejected: list[tuple[ConsumerRecord, DeadLetter]] = []
    check = EventValidator(limits).validate
    max_bytes = limits.max_value_bytes
    for record in batch.records:
        value, kind = record.value, record.kind
        try:
            if value is None or len(value) > max_bytes:
                value = _check_size(value, kind, limits)
            event = decode_value(value, kind)
            check(event, record.timestamp_ms)
        except RejectedRecord as rejection:
            dead_letter = build_dead_letter(
                batch.topic,
                batch.partition,
                record,
                rejection.reason,
                str(rejection),
                limits.max_payload_bytes,
                decoded=rejection.reason not in _NO_EVENT,
            )
            rejected.append((record, dead_letter))
        else:
            entries.append((record, event))
    return Decoded(entries, rejected)


def _check_size(value: bytes | None, kind: str | None, limits: Limits) -> bytes:
    """Return the value; raises `RejectedRecord` where there is none or it is too large."""
    if value is None:
        raise RejectedRecord("null_value", "value: none; the event topic is not compacted")
    bound = limits.max_update_bytes if kind == _UPDATE else limits.max_value_bytes
    if len(value) > bound:
        raise RejectedRecord("too_large", f"value: {len(value)} bytes, over {bound}")
    return value
