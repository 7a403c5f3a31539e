"""Clients that write events to Kafka, and the contract of the event topic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from producer.logger import InferenceLogger
    from producer.writer import EventWriter

__all__ = ["EventWriter", "InferenceLogger"]


def __getattr__(name: str) -> Any:
    """Import a client on first use, so that importing the contract does not load librdkafka."""
    if name == "InferenceLogger":
        from producer.logger import InferenceLogger  # noqa: PLC0415

        return InferenceLogger
    if name == "EventWriter":
        from producer.writer import EventWriter  # noqa: PLC0415

        return EventWriter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
