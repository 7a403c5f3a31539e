"""Headers of a record that was read, whoever wrote them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from confluent_kafka import Message


def header_list(message: Message) -> list[tuple[str, bytes | None]]:
    """All headers as they were written; none at all where a name is no UTF-8.

    confluent-kafka answers such names with a ``SystemError``: one record would end its reader.
    """
    try:
        return list(message.headers() or ())  # type: ignore[arg-type]
    except (SystemError, UnicodeDecodeError):
        return []


def headers_of(message: Message) -> dict[str, bytes | None]:
    """By name, the last of a name; none at all where a name is no UTF-8."""
    try:
        return dict(message.headers() or ())  # type: ignore[arg-type]
    except (SystemError, UnicodeDecodeError):
        return {}


def ce_type_of(message: Message) -> str | None:
    """The ``ce_type`` of a record, if it has one."""
    kind = headers_of(message).get("ce_type")
    return None if kind is None else kind.decode("utf-8", "replace")
