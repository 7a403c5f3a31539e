"""Sentences about later phases: recovery, cooldown, snooze and what a person did.  Pure.

They are added to the sentence that describes the change (`messages`).
"""

from __future__ import annotations

from stream_monitor.episodes.formatting import format_count, format_time, joined


def progress_message(n_events: int, n_needed: int) -> str:
    """Describe how far an open episode is towards its recovery.

    >>> progress_message(310, 600)
    'Recovering: 310 of about 600 events are like the reference.'
    """
    return f"Recovering: {n_events:,} of about {n_needed:,} events are like the reference."


def acknowledged_message(actor: str, time_ms: int) -> str:
    """Describe who acknowledged an episode, and when.

    >>> acknowledged_message("ann", 0)
    'Acknowledged by ann at 1 Jan 1970 00:00 UTC.'
    """
    return f"Acknowledged by {actor} at {format_time(time_ms)}."


def action_message(
    action: str, actor: str, reason: str, until_ms: int | None = None, *, ended: bool = False
) -> str:
    """Describe what a person did about an episode; ``ended``: a snooze, before its time.

    >>> action_message("snoozed", "ann", "known", 60_000)
    'Snoozed by ann until 1 Jan 1970 00:01 UTC: known.'
    >>> action_message("snoozed", "ann", "", 60_000, ended=True)
    'Snooze ended by ann.'
    """
    did = "Snooze ended" if ended else action.capitalize()
    until = "" if until_ms is None or ended else f" until {format_time(until_ms)}"
    return joined(f"{did} by {actor}{until}{_because(reason)}")


def resolved_by_message(explanation: str, actor: str, reason: str) -> str:
    """Add who resolved an episode, and why, to its end.

    >>> resolved_by_message("`temp`: resolved.", "ann", "sensor replaced")
    '`temp`: resolved by ann: sensor replaced.'
    """
    return joined(f"{explanation.removesuffix('.')} by {actor}{_because(reason)}")


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""


def after_snooze_message(explanation: str, ended_ms: int, n_suppressed: int) -> str:
    """Add to what is still open that its snooze ended.

    >>> after_snooze_message("`temp`: mean 1 → 2.", 0, 3)[20:]
    'Still open after the snooze, which ended 1 Jan 1970 00:00 UTC and suppressed 3 alerts.'
    """
    kept = f" and suppressed {format_count(n_suppressed, 'alert')}" if n_suppressed else ""
    return joined(
        explanation, f"Still open after the snooze, which ended {format_time(ended_ms)}{kept}"
    )


def after_cooldown_message(explanation: str, recovered_ms: int | None) -> str:
    """Add to what is still open that the cooldown suppressed it.

    >>> after_cooldown_message("`temp`: mean 1 → 2.", 0)[20:]
    'Suppressed by the cooldown until now (recovered 1 Jan 1970 00:00 UTC).'
    """
    recovered = "" if recovered_ms is None else f" (recovered {format_time(recovered_ms)})"
    return joined(explanation, f"Suppressed by the cooldown until now{recovered}")


def incident_message(why: str, onset_ms: int) -> str:
    """Describe an incident: its likeliest cause, and when it began.

    >>> incident_message("a moved", 0)
    'a moved. Began 1 Jan 1970 00:00 UTC.'
    """
    return joined(why, f"Began {format_time(onset_ms)}")
