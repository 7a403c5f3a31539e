"""When an announced version is loaded: once nothing newer follows, and again after a failure."""

from __future__ import annotations

from typing import Final, NamedTuple

from trainer.contracts import ModelVersion

LONGEST_WAIT_S: Final = 1.0
"""So long may more announcements hold up the first; a topic read from its start brings many."""
_FIRST_RETRY_S: Final = 1.0
_LAST_RETRY_S: Final = 30.0


class LoadAttempt(NamedTuple):
    """A version to load.  Times are seconds of one steady clock.

    ``earliest_s``: not before; ``latest_s``: then even if more announcements are coming in.
    """

    announced: ModelVersion
    earliest_s: float
    latest_s: float
    n_failed: int = 0

    def is_ready(self, now_s: float, *, quiet: bool) -> bool:
        """Whether to load now; ``quiet``: no announcement came since the last look."""
        return now_s >= self.latest_s or (quiet and now_s >= self.earliest_s)

    def after_failure(self, now_s: float) -> LoadAttempt:
        """The next one: after 1 s, then twice as long each time, up to 30 s.

        The artifact may still be on its way, on a shared file system.
        """
        wait_s = min(_LAST_RETRY_S, _FIRST_RETRY_S * 2.0 ** min(self.n_failed, 10))
        at_s = now_s + wait_s
        return LoadAttempt(self.announced, at_s, at_s, self.n_failed + 1)


def first(announced: ModelVersion, now_s: float, before: LoadAttempt | None) -> LoadAttempt:
    """The attempt for a new announcement, which replaces the one before."""
    waited = before is not None and before.n_failed == 0
    latest_s = before.latest_s if before is not None and waited else now_s + LONGEST_WAIT_S
    return LoadAttempt(announced, now_s, latest_s)
