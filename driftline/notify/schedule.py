"""Quiet hours and the time of the digest of a target.  Pure: the time is an argument."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Self
from zoneinfo import ZoneInfo

import msgspec

from stream_monitor.contracts import SEVERITY_RANK, Severity


def minute_of_day(text: str) -> int:
    """The minute of the day of a time such as ``07:30``.

    Raises:
        ValueError: the text is no time of the day.

    >>> minute_of_day("07:30")
    450
    """
    found = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no time of the day; write HH:MM, such as 07:30")
    return int(found[1]) * 60 + int(found[2])


def time_zone(name: str) -> ZoneInfo:
    """The time zone of that name.

    Raises:
        ValueError: no time zone has the name.
    """
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is no time zone; write a name such as Europe/Berlin") from error


class DailySpan(NamedTuple):
    """A part of each day, by minutes of the day; it may cross midnight.  The end is not in it."""

    start_minute: int
    end_minute: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """The span of a text such as ``22:00-07:00``.

        Raises:
            ValueError: the text is no span, or an empty one.
        """
        start, dash, end = text.partition("-")
        if not dash:
            raise ValueError(f"{text!r} is no part of a day; write HH:MM-HH:MM, as 22:00-07:00")
        span = cls(minute_of_day(start), minute_of_day(end))
        if span.start_minute == span.end_minute:
            raise ValueError(f"{text!r} begins and ends at the same time")
        return span

    def contains(self, minute: int) -> bool:
        """Whether the minute of a day is in the span.

        >>> night = DailySpan.parse("22:00-07:00")
        >>> [night.contains(hour * 60) for hour in (21, 22, 3, 7)]
        [False, True, True, False]
        """
        if self.start_minute < self.end_minute:
            return self.start_minute <= minute < self.end_minute
        return minute >= self.start_minute or minute < self.end_minute


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """The quiet hours of a target, and the time of its digest.

    In quiet hours only incidents of severity ``quiet_except`` and above are sent.  The digest is
    sent daily at ``digest_minute``; incidents below ``digest_below`` are in the digest only.
    """

    zone: str = "UTC"
    quiet_hours: DailySpan | None = None
    quiet_except: Severity = "high"
    digest_minute: int | None = None
    digest_below: Severity | None = None

    def waits(self, severity: Severity, now_ms: int) -> bool:
        """Whether an incident of this severity waits for the end of the quiet hours."""
        if self.quiet_hours is None or at_least(severity, self.quiet_except):
            return False
        local = _local(now_ms, self.zone)
        return self.quiet_hours.contains(local.hour * 60 + local.minute)

    def only_in_digest(self, severity: Severity) -> bool:
        """Whether an incident of this severity has no message of its own."""
        return self.digest_below is not None and not at_least(severity, self.digest_below)

    def latest_digest_ms(self, now_ms: int) -> int | None:
        """The latest time up to now at which a digest was due; ``None`` without a digest."""
        if self.digest_minute is None:
            return None
        local = _local(now_ms, self.zone)
        hour, minute = divmod(self.digest_minute, 60)
        due = local.replace(hour=hour, minute=minute, second=0, microsecond=0)
        if due > local:
            due = (due - timedelta(days=1)).replace(hour=hour, minute=minute)
        return int(due.timestamp() * 1000)


def at_least(severity: Severity, least: Severity) -> bool:
    """Whether a severity is ``least`` or higher.

    >>> at_least("medium", "low"), at_least("medium", "high")
    (True, False)
    """
    return SEVERITY_RANK[severity] >= SEVERITY_RANK[least]


def _local(now_ms: int, zone: str) -> datetime:
    return datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(time_zone(zone))
