"""Errors of this room, by the name its callers know."""

from stream_monitor.errors import CorruptState

__all__ = ["CorruptState"]
