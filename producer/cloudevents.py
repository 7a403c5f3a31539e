"""Write and read record headers of the CloudEvents 1.0 Kafka binding, binary mode."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from operator import methodcaller
from typing import Any, Final, Protocol, TypeAlias

from producer.events import CE_TYPE_OF, Event, Tick

Headers: TypeAlias = list[tuple[str, str | bytes | None]]
"""Headers of a record to write, as confluent-kafka takes them."""


class HeaderSource(Protocol):
    """A source of record headers: a message of the Kafka client, or a copy of its headers."""

    def headers(self) -> Any:
        """Return the headers as pairs of name and bytes, or None."""
        ...


_read_headers: Final[Callable[[HeaderSource], Any]] = methodcaller("headers")
"""For a name that is not UTF-8, confluent-kafka sets an exception and returns a value.

Python turns that into ``SystemError`` for a call from C, as here.  Its specialised bytecode, which
runs where a call is frequent, does not check: the exception surfaces elsewhere, or Python crashes.
"""


def cloudevent_headers(
    ce_type: str,
    event_id: str,
    source: str,
    *,
    time_ms: int | None = None,
    subject: str | None = None,
    traceparent: str | None = None,
) -> Headers:
    """Build the headers of a record whose value is JSON.

    Args:
        ce_type: the kind of event.
        event_id: the same for each copy of the event, so that a reader recognises a repeat.
        source: a URI reference of the writer.
        time_ms: Unix time in milliseconds; without it there is no ``ce_time``.
        subject: what the event is about; without it there is no ``ce_subject``.
        traceparent: the W3C trace context, passed through.

    >>> cloudevent_headers("io.driftline.label.v1", "a", "/s")[3]
    ('ce_type', b'io.driftline.label.v1')
    """
    headers: Headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", event_id.encode()),
        ("ce_source", source.encode()),
        ("ce_type", ce_type.encode()),
    ]
    if time_ms is not None:
        headers.append(("ce_time", _rfc3339(time_ms).encode()))
    if subject is not None:
        headers.append(("ce_subject", subject.encode()))
    headers.append(("content-type", b"application/json"))
    if traceparent is not None:
        headers.append(("traceparent", traceparent.encode()))
    return headers


def event_headers(event: Event, *, source: str, traceparent: str | None = None) -> Headers:
    """Build the headers of a record of the event topic.

    Only the required ones: the value contains time and subject, and each header costs each reader
    half a microsecond.
    """
    event_id = f"tick-{event.time_ms}" if isinstance(event, Tick) else event.id
    return cloudevent_headers(CE_TYPE_OF[type(event)], event_id, source, traceparent=traceparent)


def header_list(record: HeaderSource) -> list[tuple[str, bytes | None]]:
    """Return all headers of a record in their order; none if a name is not UTF-8."""
    try:
        return list(_read_headers(record) or ())
    except SystemError:
        record.set_headers([])  # type: ignore[attr-defined] # a second read would crash Python
        return []


def headers_of(record: HeaderSource) -> dict[str, bytes | None]:
    """Return the headers of a record by name, the last of each name; none if one is not UTF-8."""
    return dict(header_list(record))


MAX_SOURCE_CHARS: Final = 256
"""Characters of a ``ce_source`` that are kept."""


def ce_source_of(headers: Mapping[str, bytes | None]) -> str:
    """Return the ``ce_source`` header, which names the producer; empty without that header.

    It is a claim of the record, not proof.

    >>> ce_source_of({"ce_source": b"/pod-3/churn"}), ce_source_of({})
    ('/pod-3/churn', '')
    """
    return (headers.get("ce_source") or b"").decode("utf-8", "replace")[:MAX_SOURCE_CHARS]


def ce_type_of(record: HeaderSource) -> str | None:
    """Return the ``ce_type`` of a record; ``None`` if it has none."""
    ce_type = headers_of(record).get("ce_type")
    return None if ce_type is None else ce_type.decode("utf-8", "replace")


def _rfc3339(time_ms: int) -> str:
    try:
        time = datetime.fromtimestamp(time_ms / 1000, UTC)
    except (OverflowError, ValueError, OSError):  # a record may claim any time
        time = datetime.fromtimestamp(0, UTC)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
