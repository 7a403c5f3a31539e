"""Renames fields of stored state that had another name in version 1 of the envelope.

Several field names together identify a struct, so that a feature with the name of a field keeps
its name.
"""

from __future__ import annotations

from typing import Any, Final

_RENAMED: Final[list[tuple[frozenset[str], dict[str, str]]]] = [
    (
        frozenset({"alert_id", "episode_id", "decided_offset"}),  # DriftAlert
        {
            "reference_mean": "before",
            "current_mean": "after",
            "withheld": "suppressed",
            "estimated_now": "estimated_after",
            "clear_events": "recovery_events",
            "clear_needed": "recovery_events_needed",
        },
    ),
    (
        frozenset({"latest", "told", "withheld"}),  # OpenEpisode
        {
            "told": "reported",
            "withheld": "suppressed",
            "rest": "cooldown_hold",
            "says": "drift_explanation",
        },
    ),
    (
        frozenset({"dead_lettered", "append_clock_ms"}),  # Counters
        {"unwatched": "not_watched", "withheld": "suppressed"},
    ),
    (
        frozenset({"model", "reason", "sources", "run_since"}),  # RejectedRecordCount
        {"told": "reported"},
    ),
]
"""Field names that identify a struct, and its earlier names with the current ones."""


def with_current_names(data: Any) -> Any:
    """Decoded state of version 1 with the current field names.

    >>> with_current_names({"dead_lettered": 0, "append_clock_ms": 5, "unwatched": 2})
    {'dead_lettered': 0, 'append_clock_ms': 5, 'not_watched': 2}
    """
    if isinstance(data, list):
        return [with_current_names(item) for item in data]
    if not isinstance(data, dict):
        return data
    names = next((names for fields, names in _RENAMED if fields <= data.keys()), {})
    return {names.get(name, name): with_current_names(item) for name, item in data.items()}
