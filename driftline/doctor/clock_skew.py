"""Clocks of producers and the broker that are off: what the doctor concludes from a sample."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Final, NamedTuple

from driftline.doctor.health_checks import (
    MAX_CLOCK_DIFFERENCE_MS,
    HealthCheckResult,
    format_duration,
)

MAX_CLOCK_OFFSET_MS: Final = 5 * 60_000
"""By so much a producer's event times lie off the append times before its clock is suspected."""
REPLAY_AGE_MS: Final = 24 * 3_600_000
"""Event times that lie further back are those of a replay, and say nothing of a clock."""
MIN_EVENTS: Final = 20
"""Of fewer events of a producer nothing is concluded: batches and retries are late, too."""


class TimestampedEvent(NamedTuple):
    """An event as it was sent and appended: by whom, of when, and when (ms)."""

    source: str
    event_ms: int
    appended_ms: int


def check_clocks(events: Iterable[TimestampedEvent], now_ms: int) -> list[HealthCheckResult]:
    """Producers whose event times lie off, and a broker whose clock is not this machine's.

    >>> late = [TimestampedEvent("/a", i, i + 3_600_000) for i in range(20)]
    >>> check_clocks(late, 3_600_020)[0].found
    'events of /a are stamped 60 min before they are appended (median of 20)'
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
            HealthCheckResult(
                check="clock of the broker",
                level="warning",
                found=f"the newest record is stamped {format_duration(newest_ms - now_ms)} after this "
                "machine's time",
                fix="set both clocks (NTP): silence and idle windows go by the broker's",
            )
        )
    return found or [HealthCheckResult(check="clocks", level="ok", found=_summary(behind))]


def _of_producer(source: str, lags: Sequence[int]) -> HealthCheckResult | None:
    lag = round(median(lags))
    if len(lags) < MIN_EVENTS or not MAX_CLOCK_OFFSET_MS <= abs(lag) < REPLAY_AGE_MS:
        return None
    behind = lag > 0
    order = "before" if behind else "after"
    return HealthCheckResult(
        check=f"clock of {source or 'a producer without ce_source'}",
        level="warning",
        found=f"events of {source or 'a producer without ce_source'} are stamped "
        f"{format_duration(abs(lag))} {order} they are appended (median of {len(lags)})",
        fix=(
            "set its clock (NTP), unless it sends events late on purpose: those later than their "
            "window are counted as late, and labels may not join"
            if behind
            else "set its clock (NTP): events more than 5 min ahead of the broker are rejected"
        ),
    )


def _summary(behind: Mapping[str, Sequence[int]]) -> str:
    n_events = sum(len(lags) for lags in behind.values())
    return f"{n_events} events of {len(behind)} producers, none off by {format_duration(MAX_CLOCK_OFFSET_MS)}"
