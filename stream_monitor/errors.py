"""Errors every room may raise."""

from __future__ import annotations


class CorruptState(ValueError):  # noqa: N818 - a finding about data, named for what it says
    """Stored state does not read back as what was written: rebuild it from the log."""
