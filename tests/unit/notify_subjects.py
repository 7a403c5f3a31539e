"""Subjects of messages for tests of the notifier."""

from __future__ import annotations

from typing import Any

from driftline.notify.subjects import Episode, Subject

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
NOON_MS = 1_700_049_600_000
"""15 November 2023, 12:00 UTC."""


def an_episode(name: str, **changes: Any) -> Episode:
    fields: dict[str, Any] = {
        "episode_id": f"{name}-0123456789abcdef",
        "version": "7",
        "series": f"feature/{name}",
        "kind": "data",
        "severity": "medium",
        "started_ms": NOON_MS,
        "ended_ms": None,
        "explanation": f"`{name}`: mean 1 → 2.",
    }
    return Episode(**(fields | changes))


def a_subject(**changes: Any) -> Subject:
    fields: dict[str, Any] = {
        "subject_id": "s1",
        "source": "incident",
        "model": "churn",
        "title": "broken data",
        "severity": "medium",
        "kinds": ["data"],
        "opened_ms": NOON_MS,
        "closed_ms": None,
        "explanation": "`age` changed. Began 15 Nov 2023 11:00 UTC.",
        "episodes": [an_episode("age")],
        "incident_id": "i1",
    }
    return Subject(**(fields | changes))
