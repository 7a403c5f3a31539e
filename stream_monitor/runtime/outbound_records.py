"""Encodes alerts, dead letters and ticks as Kafka records."""

from __future__ import annotations

from typing import Final

import msgspec

from producer.cloudevents import Headers, cloudevent_headers
from producer.events import CE_TYPE_OF, Tick
from producer.names import escape
from stream_monitor.contracts import ALERT_CE_TYPE, DEAD_LETTER_CE_TYPE, DeadLetter, DriftAlert

SOURCE: Final = "/driftline/monitor"


def alert_headers(alert: DriftAlert) -> Headers:
    """Headers of an alert; ``ce_id`` is the alert's id, so that a repeat is recognised."""
    subject = f"{escape(alert.model)}/{escape(alert.version)}"
    return cloudevent_headers(
        ALERT_CE_TYPE, alert.alert_id, SOURCE, time_ms=alert.decided_ms, subject=subject
    )


def dead_letter_record(dead_letter: DeadLetter) -> tuple[bytes, Headers]:
    """Value and headers of a dead letter; ``ce_id`` is the position of the rejected record."""
    headers = cloudevent_headers(
        DEAD_LETTER_CE_TYPE, dead_letter.dead_letter_id, SOURCE, time_ms=dead_letter.timestamp_ms
    )
    return msgspec.json.encode(dead_letter), headers


def tick_record(now_ms: int) -> tuple[bytes, Headers]:
    """Value and headers of a `Tick`."""
    return msgspec.json.encode(Tick(time_ms=now_ms)), [("ce_type", CE_TYPE_OF[Tick].encode())]
