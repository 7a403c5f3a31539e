"""Which records of the log a job reads."""

from __future__ import annotations

import msgspec


class OffsetRange(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """Records ``[start, end)`` of one partition of the log."""

    partition: int
    start: int
    end: int


def start_before(onset_offset: int, lookback_records: int) -> int:
    """Where to begin reading: the lookback before the onset, or the log's start.

    >>> start_before(100_000, 40_000), start_before(1_000, 40_000)
    (60000, 0)
    """
    return max(0, onset_offset - lookback_records)
