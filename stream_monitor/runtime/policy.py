"""When to commit."""

from __future__ import annotations

import msgspec


class CommitPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """At once when somebody waits, else rarely enough to cost little.

    A commit waits ``interval_s`` after the first uncommitted record, and at least ``share`` times
    as long as the last commits took, so that committing takes at most 1/share of the time; but no
    longer than ``longest_s``: a store that answered late once may be well again.
    """

    interval_s: float = 0.25
    share: float = 10.0
    longest_s: float = 5.0

    def delay_s(self, last_commits_s: float) -> float:
        """How long uncommitted records may wait, after commits that took ``last_commits_s``."""
        return max(self.interval_s, min(self.longest_s, self.share * last_commits_s))

    def due(
        self, *, dirty_since_s: float | None, now_s: float, last_commits_s: float, urgent: bool
    ) -> bool:
        """Whether to commit now.  ``dirty_since_s`` is ``None`` when nothing is uncommitted."""
        if dirty_since_s is None:
            return False
        return urgent or now_s - dirty_since_s >= self.delay_s(last_commits_s)
