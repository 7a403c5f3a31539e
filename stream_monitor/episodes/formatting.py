"""Rates and spans of time as people say them."""

from __future__ import annotations

from typing import Final

_UNITS: Final = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"))
_PER: Final = ((1_000, "a second"), (60_000, "a minute"), (3_600_000, "an hour"))
_DAY_MS: Final = 86_400_000


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"


def format_duration(duration_ms: float) -> str:
    """A span of time in its largest unit that leaves at least two of it.

    >>> format_duration(2_520_000), format_duration(26 * 3_600_000), format_duration(7_560_000), format_duration(1_900), format_duration(90_000)
    ('42 min', '26 h', '2.1 h', '1.9 s', '90 s')
    """
    for unit_ms, name in _UNITS:
        if duration_ms >= 2 * unit_ms or unit_ms == 1_000:
            return f"{_short(duration_ms / unit_ms)} {name}"
    raise AssertionError  # the last unit takes all


def format_interval(per_ms: float) -> str:
    """How often something comes.

    >>> format_interval(1 / 3_000), format_interval(0.02), format_interval(0.0)
    ('one every 3 s', '20 a second', 'none')
    """
    if per_ms <= 0:
        return "none"
    return f"one every {format_duration(1 / per_ms)}" if per_ms < 1 / 1_500 else format_rate(per_ms)


def format_rate(per_ms: float, like_ms: float | None = None) -> str:
    """Events in the shortest unit of time that has at least one of them at ``like_ms``' rate.

    >>> format_rate(12 / 60_000), format_rate(3.1 / 60_000, 12 / 60_000), format_rate(0.02), format_rate(1 / 7_200_000)
    ('12 a minute', '3.1 a minute', '20 a second', '12 a day')
    """
    like_ms = per_ms if like_ms is None else like_ms
    for unit_ms, name in _PER:
        if like_ms * unit_ms >= 1:
            return f"{_short(per_ms * unit_ms)} {name}"
    return f"{_short(per_ms * _DAY_MS)} a day"
