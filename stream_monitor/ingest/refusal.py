"""The dead letter of a record that was rejected."""

from __future__ import annotations

import hashlib
from typing import Final

from stream_monitor.contracts import DeadLetter
from stream_monitor.ingest.records import LogRecord

_MAX_DETAIL: Final = 300  # characters; a detail may quote what the producer sent


def dead_letter(
    topic: str, partition: int, record: LogRecord, reason: str, detail: str, max_payload_bytes: int
) -> DeadLetter:
    """The dead letter of a record; its payload is cut, its hash and size are of the whole."""
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
    )
