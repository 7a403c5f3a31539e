"""When to commit."""

from __future__ import annotations

import msgspec


class CommitPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """At once when somebody waits, else rarely enough to cost little.

    A commit waits ``interval_s`` after the first uncommitted record, and at least ``share`` times
    as long as the last commits took, so that committing takes at most 1/share of the time; but no
    longer than ``max_delay_s``: a store that answered late once may be well again.
    """

    interval_s: float = 0.25
    min_interval_factor: float = 10.0
    max_delay_s: float = 5.0

    def delay_s(self, last_commits_s: float) -> float:
        """How long uncommitted records may wait, after commits that took ``last_commits_s``."""
        return max(
            self.interval_s, min(self.max_delay_s, self.min_interval_factor * last_commits_s)
        )

    def due(
        self,
        *,
        uncommitted_since_s: float | None,
        now_s: float,
        last_commits_s: float,
        urgent: bool,
    ) -> bool:
        """Whether to commit now.  ``uncommitted_since_s`` is ``None`` when nothing is uncommitted."""
        if uncommitted_since_s is None:
            return False
        return urgent or now_s - uncommitted_since_s >= self.delay_s(last_commits_s)
