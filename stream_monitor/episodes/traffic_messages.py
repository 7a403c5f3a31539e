"""Every sentence of an alert about the traffic: event volume, labels, rejected records.  Pure."""

from __future__ import annotations

from typing import Final

from stream_monitor.episodes.formatting import (
    format_count,
    format_duration,
    format_interval,
    format_percent,
    format_rate,
    format_time,
    joined,
)

_LABEL_ADVICE: Final = "Check the job that writes labels"


def silence_message(silent_ms: int, usual_per_ms: float, version: str | None = None) -> str:
    """Describe that no events arrive, or none of the version that has most of them.

    >>> silence_message(42 * 60_000, 1 / 3_000)[:58]
    'No events for 42 min; usually one every 3 s at this hour. '
    """
    of = "" if version is None else f" of version {version}"
    others = "" if version is None else ", and no more than usual of other versions"
    return joined(
        f"No events{of} for {format_duration(silent_ms)}{others}; usually "
        f"{format_interval(usual_per_ms)} at this hour",
        "Check the model server and its connection to Kafka",
    )


def silence_ended_message(silent_ms: int) -> str:
    """Describe that events arrive after a silence.

    >>> silence_ended_message(42 * 60_000)
    'Traffic resumed after 42 min without events.'
    """
    return f"Traffic resumed after {format_duration(silent_ms)} without events."


def volume_message(
    usual_per_ms: float, now_per_ms: float, onset_ms: int, *, worse: bool = False
) -> str:
    """Describe more or fewer events than usual.

    >>> volume_message(12 / 60_000, 3.1 / 60_000, 1362128040000)[:63]
    'Event volume 12 a minute → 3.1 a minute since 1 Mar 2013 08:54 '
    """
    like = max(usual_per_ms, now_per_ms)
    advice = "fewer" if now_per_ms < usual_per_ms else "more"
    return joined(
        f"Event volume {format_rate(usual_per_ms, like)} → {format_rate(now_per_ms, like)} since "
        f"{format_time(onset_ms)}, all versions",
        "Worse than reported before" if worse else "",
        f"Check why the callers of the model send {advice} requests",
    )


def volume_recovered_message(usual_per_ms: float, now_per_ms: float) -> str:
    """Describe that as many events as usual arrive.

    >>> volume_recovered_message(12 / 60_000, 11.5 / 60_000)
    'Event volume back to normal: 12 a minute (usual 12 a minute).'
    """
    now, usual = format_rate(now_per_ms, usual_per_ms), format_rate(usual_per_ms)
    return f"Event volume back to normal: {now} (usual {usual})."


def label_outage_message(silent_ms: int, longest_ms: int) -> str:
    """Describe that no labels arrive.

    >>> label_outage_message(26 * 3_600_000, 2 * 3_600_000)
    'No labels for 26 h; the longest gap before was 2 h. Check the job that writes labels.'
    """
    usual = (
        f"the longest gap before was {format_duration(longest_ms)}"
        if longest_ms
        else "usually they arrive without a gap"
    )
    return joined(f"No labels for {format_duration(silent_ms)}; {usual}", _LABEL_ADVICE)


def label_outage_ended_message(silent_ms: int) -> str:
    """Describe that labels arrive after an outage.

    >>> label_outage_ended_message(26 * 3_600_000)
    'Labels resumed after 26 h without labels.'
    """
    return f"Labels resumed after {format_duration(silent_ms)} without labels."


def label_delay_message(
    usual_ms: float, now_ms: float, onset_ms: int, *, worse: bool = False
) -> str:
    """Describe labels that arrive later than usual.

    >>> label_delay_message(7_560_000, 19 * 3_600_000, 1362128040000)[:76]
    'Labels arrive 19 h after the prediction (usual 2.1 h) since 1 Mar 2013 08:54'
    """
    return joined(
        f"Labels arrive {format_duration(now_ms)} after the prediction (usual "
        f"{format_duration(usual_ms)}) since {format_time(onset_ms)}",
        "Worse than reported before" if worse else "",
        _LABEL_ADVICE,
    )


def label_delay_recovered_message(now_ms: float) -> str:
    """Describe that labels arrive in time.

    >>> label_delay_recovered_message(7_560_000)
    'Labels arrive in time, 2.1 h after the prediction.'
    """
    return f"Labels arrive in time, {format_duration(now_ms)} after the prediction."


def traffic_ended_message(series: str, *, resolved: bool) -> str:
    """Describe the end of an episode of ``series`` (events or labels) that no event decided.

    >>> traffic_ended_message("events", resolved=False)
    'Traffic (events): ended, because the model was removed or its partitions changed.'
    """
    ended = "ended, because the model was removed or its partitions changed"
    return f"Traffic ({series}): {'resolved' if resolved else ended}."


def rejected_message(
    n: int,
    reason: str,
    onset_ms: int,
    ratio: float,
    model: str | None,
    source: str,
    n_more_sources: int,
    last: tuple[int, str],
) -> str:
    """Describe ``n`` rejected records: ``ratio`` of the recent ones of ``model``, None for all.

    ``source`` wrote most of them, empty where records name none.  ``last`` is the offset of the
    last one, and why it was rejected.

    >>> rejected_message(12, "invalid_event", 0, 0.05, "m", "svc", 0, (8, "no id"))[:78]
    '12 records were rejected (invalid_event) since 1 Jan 1970 00:00 UTC, recently '
    """
    whose = "all records" if model is None else f"the records of model {model}"
    more = f" and {format_count(n_more_sources, 'other source')}" if n_more_sources else ""
    offset, detail = last
    return joined(
        f"{format_count(n, 'record')} {'was' if n == 1 else 'were'} rejected ({reason}) since "
        f"{format_time(onset_ms)}, recently {format_percent(ratio)} of {whose}, "
        f"from {source or 'producers without ce_source'}{more}",
        f"The last one, at offset {offset}: {detail}",
        "Correct the producer; `driftline dead-letters show` lists these records",
    )


def rejected_recovered_message(n: int, reason: str, last_ms: int) -> str:
    """Describe that no more records are rejected.

    >>> rejected_recovered_message(20, "invalid_event", 0)
    'No more records are rejected (invalid_event); 20 were, the last one at 1 Jan 1970 00:00 UTC.'
    """
    were = "was" if n == 1 else "were"
    return (
        f"No more records are rejected ({reason}); {n:,} {were}, the last one at "
        f"{format_time(last_ms)}."
    )


def rejected_resolved_message(reason: str) -> str:
    """Describe that a person ended an episode of rejected records."""
    return f"Rejected records ({reason}): resolved."
