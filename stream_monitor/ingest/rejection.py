"""Builds the dead letter of a rejected record, and finds the model it is counted under."""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from producer.names import invalid_name_reason
from producer.routing import model_of_key
from stream_monitor.contracts import UNKNOWN_MODEL, DeadLetter
from stream_monitor.ingest.records import ConsumerRecord

_MAX_DETAIL: Final = 300  # characters; a detail may quote what the producer sent
_MAX_BODY_BYTES: Final = 64 * 1024


class _Named(msgspec.Struct):
    """The only field of a body that is needed to attribute it."""

    model: str = ""


_named: Final = msgspec.json.Decoder(_Named).decode


def build_dead_letter(
    topic: str,
    partition: int,
    record: ConsumerRecord,
    reason: str,
    detail: str,
    max_payload_bytes: int,
    *,
    decoded: bool = False,
) -> DeadLetter:
    """Build the dead letter of a record: a bounded payload, hash and size of the whole value.

    ``decoded``: the value is an event that violated a rule.
    """
    value = record.value or b""
    return DeadLetter(
        topic=topic,
        partition=partition,
        offset=record.offset,
        timestamp_ms=record.timestamp_ms,
        reason=reason,
        detail=detail[:_MAX_DETAIL],
        sha256=hashlib.sha256(value).hexdigest(),
        size_bytes=len(value),
        payload=value[:max_payload_bytes],
        model=model_of(record, decoded=decoded),
        source=record.source,
    )


def model_of(record: ConsumerRecord, *, decoded: bool = False) -> str:
    """The model that a rejected record is counted under.

    A decoded event names it.  Otherwise the key does (``model/k`` for a shard), or what is readable
    of the value.
    """
    by_key, by_body = model_from_key(record), _model_from_value(record.value)
    found = (by_body or by_key) if decoded else (by_key or by_body)
    return found or UNKNOWN_MODEL


def model_from_key(record: ConsumerRecord) -> str | None:
    """The model in the key of a record; ``None`` where there is none."""
    return _name(model_of_key(record.key) or "")


def _model_from_value(value: bytes | None) -> str | None:
    if not value or len(value) > _MAX_BODY_BYTES:
        return None
    try:
        return _name(_named(value).model)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _name(text: str) -> str | None:
    return text if invalid_name_reason(text) is None else None
