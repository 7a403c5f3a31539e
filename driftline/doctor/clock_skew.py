"""Health check of clocks: producers and brokers whose clocks differ, from a sample of events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Final, NamedTuple

from driftline.doctor.health_checks import (
    MAX_CLOCK_DIFFERENCE_MS,
    HealthCheckResult,
    format_duration,
    ok,
    warning,
)
from stream_monitor.episodes.formatting import format_count

MAX_CLOCK_OFFSET_MS: Final = 5 * 60_000
"""A producer whose event times differ more from the append times has a wrong clock."""
REPLAY_AGE_MS: Final = 24 * 3_600_000
"""Older event times belong to replayed data, and are no evidence about a clock."""
MIN_EVENTS: Final = 20
"""A producer with fewer events is not checked, because batches and retries are late, too."""


class TimestampedEvent(NamedTuple):
    """An event's producer, its event time and the time it was appended (ms)."""

    source: str
    event_ms: int
    appended_ms: int


def check_clocks(events: Iterable[TimestampedEvent], now_ms: int) -> list[HealthCheckResult]:
    """Check the clocks of producers, and the broker's clock against this machine's (``now_ms``).

    >>> late = [TimestampedEvent("/a", i, i + 3_600_000) for i in range(20)]
    >>> check_clocks(late, 3_600_020)[0].found
    'event times of /a are 60 min before the append times (median of 20)'
    """
    behind: dict[str, list[int]] = {}
    newest_ms = 0
    for event in events:
        behind.setdefault(event.source, []).append(event.appended_ms - event.event_ms)
        newest_ms = max(newest_ms, event.appended_ms)
    found = [
        each for source, lags in sorted(behind.items()) if (each := _of_producer(source, lags))
    ]
    if newest_ms - now_ms > MAX_CLOCK_DIFFERENCE_MS:
        found.append(
            warning(
                "clock of the broker",
                f"the newest record's append time is {format_duration(newest_ms - now_ms)} "
                "ahead of this machine's clock",
                "set both clocks (NTP): silence and idle windows depend on the broker's",
            )
        )
    return found or [ok("clocks", _summary(behind))]


def _of_producer(source: str, lags: Sequence[int]) -> HealthCheckResult | None:
    lag = round(median(lags))
    if len(lags) < MIN_EVENTS or not MAX_CLOCK_OFFSET_MS <= abs(lag) < REPLAY_AGE_MS:
        return None
    behind = lag > 0
    order = "before" if behind else "after"
    return warning(
        f"clock of {source or 'a producer without ce_source'}",
        f"event times of {source or 'a producer without ce_source'} are "
        f"{format_duration(abs(lag))} {order} the append times (median of {len(lags)})",
        "set its clock (NTP), unless it sends events late on purpose: events after the end of "
        "their window are counted as late, and labels may not join"
        if behind
        else "set its clock (NTP): events more than 5 min ahead of the broker are rejected",
    )


def _summary(behind: Mapping[str, Sequence[int]]) -> str:
    if not behind:
        return "no event in the sample"
    n_events = format_count(sum(len(lags) for lags in behind.values()), "event")
    limit = format_duration(MAX_CLOCK_OFFSET_MS)
    return f"{n_events} of {format_count(len(behind), 'producer')}, none off by {limit}"
