"""Errors that every package may raise."""

from __future__ import annotations


class CorruptState(ValueError):  # noqa: N818 - a finding about data
    """Stored state is invalid: rebuild it from the event topic."""
