"""Reads the wall clock."""

from __future__ import annotations

import time


def wall_clock_ms() -> int:
    """The time since the Unix epoch, in milliseconds."""
    return time.time_ns() // 1_000_000
