"""Offset ranges of the event topic."""

from __future__ import annotations

import msgspec


class OffsetRange(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """Records ``[start, end)`` of one partition of the event topic."""

    partition: int
    start: int
    end: int


def start_before(onset_offset: int, lookback_records: int) -> int:
    """Return the offset ``lookback_records`` before the onset, or 0.

    >>> start_before(100_000, 40_000), start_before(1_000, 40_000)
    (60000, 0)
    """
    return max(0, onset_offset - lookback_records)
