"""What leaves the monitor, as Kafka records: alerts, dead letters, ticks."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from producer.events import CE_TYPE_OF, Tick
from producer.names import escape
from stream_monitor.contracts import ALERT_CE_TYPE, DEAD_LETTER_CE_TYPE, DeadLetter, DriftAlert
from stream_monitor.runtime.publisher import Headers

SOURCE = b"/driftline/monitor"


def cloudevent_headers(
    kind: str, identity: str, time_ms: int, subject: str | None = None
) -> Headers:
    """Headers of the CloudEvents 1.0 Kafka binding, binary mode, around a JSON body."""
    headers: Headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", identity.encode()),
        ("ce_source", SOURCE),
        ("ce_type", kind.encode()),
        ("ce_time", _rfc3339(time_ms).encode()),
        ("content-type", b"application/json"),
    ]
    if subject is not None:
        headers.append(("ce_subject", subject.encode()))
    return headers


def alert_headers(alert: DriftAlert) -> Headers:
    """An alert's: its id is the alert's, so that a repeat is recognised without reading it."""
    subject = f"{escape(alert.model)}/{escape(alert.version)}"
    return cloudevent_headers(ALERT_CE_TYPE, alert.alert_id, alert.decided_ms, subject)


def dead_letter_record(letter: DeadLetter) -> tuple[bytes, Headers]:
    """Value and headers of a dead letter.  Its id is the position of the record."""
    headers = cloudevent_headers(DEAD_LETTER_CE_TYPE, letter.letter_id, letter.timestamp_ms)
    return msgspec.json.encode(letter), headers


def tick_record(now_ms: int) -> tuple[bytes, Headers]:
    """Value and headers of a `Tick`."""
    return msgspec.json.encode(Tick(time_ms=now_ms)), [("ce_type", CE_TYPE_OF[Tick].encode())]


def _rfc3339(time_ms: int) -> str:
    try:
        time = datetime.fromtimestamp(time_ms / 1000, UTC)
    except (OverflowError, ValueError, OSError):  # a record may claim any time
        time = datetime.fromtimestamp(0, UTC)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
