"""The sentences about how much comes, and when."""

from __future__ import annotations

from stream_monitor.episodes.formatting import format_duration, format_interval, format_rate
from stream_monitor.episodes.messages import format_time


def silence(silent_ms: int, usual_per_ms: float, version: str | None = None) -> str:
    """No events; or none of the version that has most of them, while others trickle on.

    >>> silence(42 * 60_000, 1 / 3_000)
    'no events for 42 min; usually one every 3 s at this hour'
    >>> silence(42 * 60_000, 1 / 3_000, "7")[:67]
    'no events of version 7 for 42 min, and no more than usual of others'
    """
    of = "" if version is None else f" of version {version}"
    others = "" if version is None else ", and no more than usual of others"
    every_so_often = format_interval(usual_per_ms)
    return f"no events{of} for {format_duration(silent_ms)}{others}; usually {every_so_often} at this hour"


def silence_over(silent_ms: int) -> str:
    """Events again.

    >>> silence_over(42 * 60_000)
    'events: they come again, after 42 min without'
    """
    return f"events: they come again, after {format_duration(silent_ms)} without"


def volume(usual_per_ms: float, now_per_ms: float, onset_ms: int, *, worse: bool = False) -> str:
    """More or fewer events than usual.

    >>> volume(12 / 60_000, 3.1 / 60_000, 1362128040000)
    'events: 12 a minute → 3.1 a minute, since 2013-03-01 08:54Z'
    """
    like = max(usual_per_ms, now_per_ms)
    change = f"{format_rate(usual_per_ms, like)} → {format_rate(now_per_ms, like)}"
    return f"events: {'worse, ' if worse else ''}{change}, since {format_time(onset_ms)}"


def volume_over(usual_per_ms: float, now_per_ms: float) -> str:
    """As many as usual.

    >>> volume_over(12 / 60_000, 11.5 / 60_000)
    'events: as many as usual again, 12 a minute where 12 are usual'
    """
    now, usual = format_rate(now_per_ms, usual_per_ms), format_rate(usual_per_ms)
    return f"events: as many as usual again, {now} where {usual.split(' ')[0]} are usual"


def outage(silent_ms: int, longest_ms: int) -> str:
    """No labels.

    >>> outage(26 * 3_600_000, 2 * 3_600_000), outage(26 * 3_600_000, 0)[-21:]
    ('no labels for 26 h; usually within 2 h', 'usually without a gap')
    """
    usual = f"within {format_duration(longest_ms)}" if longest_ms else "without a gap"
    return f"no labels for {format_duration(silent_ms)}; usually {usual}"


def outage_over(silent_ms: int) -> str:
    """Labels again.

    >>> outage_over(26 * 3_600_000)
    'labels: they come again, after 26 h without'
    """
    return f"labels: they come again, after {format_duration(silent_ms)} without"


def delay(usual_ms: float, now_ms: float, onset_ms: int, *, worse: bool = False) -> str:
    """Labels come later.

    >>> delay(7_560_000, 19 * 3_600_000, 1362128040000)
    'labels come 2.1 h → 19 h after the prediction, since 2013-03-01 08:54Z'
    """
    change = f"{format_duration(usual_ms)} → {format_duration(now_ms)} after the prediction, since {format_time(onset_ms)}"
    return f"labels come {'later still, ' if worse else ''}{change}"


def delay_over(now_ms: float) -> str:
    """Labels come in time.

    >>> delay_over(7_560_000)
    'labels come in time again, 2.1 h after the prediction'
    """
    return f"labels come in time again, {format_duration(now_ms)} after the prediction"
