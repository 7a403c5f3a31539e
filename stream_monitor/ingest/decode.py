"""Record bytes to events.  Total: whatever the bytes are, a record is an entry or refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from producer.checks import Checks
from producer.codec import RefusedRecord
from producer.codec import decode as decode_value
from producer.events import CE_TYPE_OF, Event, ModelUpdate
from producer.limits import Limits
from stream_monitor.contracts import DeadLetter
from stream_monitor.ingest.records import LogRecord, RecordBatch
from stream_monitor.ingest.refusal import dead_letter

_UPDATE = CE_TYPE_OF[ModelUpdate]
_NO_EVENT: Final = frozenset(
    {"null_value", "too_large", "unknown_kind", "invalid_event", "malformed_json"}
)
"""Reasons for which a value is no event; the others are rules that an event broke."""


class Decoded(NamedTuple):
    """What a batch held, in log order.  Every record is in exactly one of the two lists."""

    entries: list[tuple[LogRecord, Event]]
    rejected: list[tuple[LogRecord, DeadLetter]]

    @property
    def refused(self) -> list[DeadLetter]:
        """The dead letters of those that were rejected."""
        return [letter for _, letter in self.rejected]

    def all(self) -> Sequence[tuple[LogRecord, Event | DeadLetter]]:
        """Every record, in log order, with its event or its dead letter."""
        if not self.rejected:
            return self.entries
        both: list[tuple[LogRecord, Event | DeadLetter]] = [*self.entries, *self.rejected]
        both.sort(key=lambda entry: entry[0].offset)
        return both


def decode(batch: RecordBatch, limits: Limits) -> Decoded:
    """Decode and judge every record of ``batch``; never raises, whatever the bytes are.

    The checks stand in the order of their cost: no value, size, form, names, number of features,
    lengths of strings, event time against the record's timestamp.  A value that is non-finite or
    of an odd magnitude is no reason: it becomes an invalid value, and its event counts.
    """
    entries: list[tuple[LogRecord, Event]] = []
    rejected: list[tuple[LogRecord, DeadLetter]] = []
    check = Checks(limits).check
    max_bytes = limits.max_value_bytes
    for record in batch.records:
        value, kind = record.value, record.kind
        try:
            if value is None or len(value) > max_bytes:
                value = _bounded(value, kind, limits)
            event = decode_value(value, kind)
            check(event, record.timestamp_ms)
        except RefusedRecord as refusal:
            letter = dead_letter(
                batch.topic,
                batch.partition,
                record,
                refusal.reason,
                str(refusal),
                limits.max_payload_bytes,
                decoded=refusal.reason not in _NO_EVENT,
            )
            rejected.append((record, letter))
        else:
            entries.append((record, event))
    return Decoded(entries, rejected)


def _bounded(value: bytes | None, kind: str | None, limits: Limits) -> bytes:
    """Judge a record without a value, or one of unusual size.  Raises `RefusedRecord`."""
    if value is None:
        raise RefusedRecord("null_value", "value: none; the log is not compacted")
    bound = limits.max_update_bytes if kind == _UPDATE else limits.max_value_bytes
    if len(value) > bound:
        raise RefusedRecord("too_large", f"value: {len(value)} bytes, over {bound}")
    return value
