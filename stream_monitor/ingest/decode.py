"""Record bytes to events.  Total: whatever the bytes are, a record is an entry or refused."""

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
"""Reasons for which a value is no event; the others are rules that an event broke."""


class Decoded(NamedTuple):
    """What a batch held, in log order.  Every record is in exactly one of the two lists."""

    entries: list[tuple[ConsumerRecord, Event]]
    rejected: list[tuple[ConsumerRecord, DeadLetter]]

    @property
    def dead_letters(self) -> list[DeadLetter]:
        """The dead letters of those that were rejected."""
        return [letter for _, letter in self.rejected]

    def all(self) -> Sequence[tuple[ConsumerRecord, Event | DeadLetter]]:
        """Every record, in log order, with its event or its dead letter."""
        if not self.rejected:
            return self.entries
        both: list[tuple[ConsumerRecord, Event | DeadLetter]] = [*self.entries, *self.rejected]
        both.sort(key=lambda entry: entry[0].offset)
        return both


def decode(batch: RecordBatch, limits: Limits) -> Decoded:
    """Decode and judge every record of ``batch``; never raises, whatever the bytes are.

    The checks stand in the order of their cost: no value, size, form, names, number of features,
    lengths of strings, event time against the record's timestamp.  A value that is non-finite or
    of an odd magnitude is no reason: it becomes an invalid value, and its event counts.
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
            letter = build_dead_letter(
                batch.topic,
                batch.partition,
                record,
                rejection.reason,
                str(rejection),
                limits.max_payload_bytes,
                decoded=rejection.reason not in _NO_EVENT,
            )
            rejected.append((record, letter))
        else:
            entries.append((record, event))
    return Decoded(entries, rejected)


def _check_size(value: bytes | None, kind: str | None, limits: Limits) -> bytes:
    """Judge a record without a value, or one of unusual size.  Raises `RejectedRecord`."""
    if value is None:
        raise RejectedRecord("null_value", "value: none; the log is not compacted")
    bound = limits.max_update_bytes if kind == _UPDATE else limits.max_value_bytes
    if len(value) > bound:
        raise RejectedRecord("too_large", f"value: {len(value)} bytes, over {bound}")
    return value
