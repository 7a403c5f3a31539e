"""Decides when a worker commits a partition."""

from __future__ import annotations

from typing import Final

from stream_monitor.settings import CommitSettings

MAX_DELAY_S: Final = 5.0
"""A commit waits no longer, however long the last commits took: the store may have recovered."""


def commit_delay_s(settings: CommitSettings, last_commits_s: float) -> float:
    """How long uncommitted records may wait, after commits that took ``last_commits_s``.

    A commit waits ``interval_s`` after the first uncommitted record, and at least
    ``min_interval_factor`` times as long as the last commits took, so that committing takes at most
    that fraction of the time.
    """
    factor_s = settings.min_interval_factor * last_commits_s
    return max(settings.interval_s, min(MAX_DELAY_S, factor_s))


def is_commit_due(
    settings: CommitSettings,
    *,
    uncommitted_since_s: float | None,
    now_s: float,
    last_commits_s: float,
    urgent: bool,
) -> bool:
    """Whether to commit now.  ``uncommitted_since_s`` is ``None`` when nothing is uncommitted."""
    if uncommitted_since_s is None:
        return False
    return urgent or now_s - uncommitted_since_s >= commit_delay_s(settings, last_commits_s)
