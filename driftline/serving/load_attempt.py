"""Decides when to load an announced version, and when to retry after a failure.  Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

from trainer.contracts import ModelVersion

LONGEST_WAIT_S: Final = 1.0
"""More announcements delay the first by at most this time; an old topic has many of them."""
_FIRST_RETRY_S: Final = 1.0
_LAST_RETRY_S: Final = 30.0


class LoadAttempt(NamedTuple):
    """A version to load, and when; times are seconds of one monotonic clock.

    It is loaded after ``earliest_s``, when no more announcements arrive, and at ``latest_s`` in any
    case.
    """

    announced: ModelVersion
    earliest_s: float
    latest_s: float
    n_failed: int = 0

    def is_ready(self, now_s: float, *, no_new_announcement: bool) -> bool:
        """Whether to load now; ``no_new_announcement``: none arrived since the last call."""
        return now_s >= self.latest_s or (no_new_announcement and now_s >= self.earliest_s)

    def after_failure(self, now_s: float) -> LoadAttempt:
        """The next attempt: after 1 s, then after twice the time, up to 30 s.

        On a shared file system an artifact may appear later than its announcement.
        """
        wait_s = min(_LAST_RETRY_S, _FIRST_RETRY_S * 2.0 ** min(self.n_failed, 10))
        at_s = now_s + wait_s
        return LoadAttempt(self.announced, at_s, at_s, self.n_failed + 1)


def attempt_for(announced: ModelVersion, now_s: float, before: LoadAttempt | None) -> LoadAttempt:
    """The attempt for a new announcement; it replaces the attempt ``before``."""
    waited = before is not None and before.n_failed == 0
    latest_s = before.latest_s if before is not None and waited else now_s + LONGEST_WAIT_S
    return LoadAttempt(announced, now_s, latest_s)
