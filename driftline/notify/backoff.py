"""Retry times of a failed target.  Pure."""

from __future__ import annotations

from typing import Final

import msgspec

FIRST_RETRY_MS: Final = 1_000


class TargetState(msgspec.Struct, frozen=True, kw_only=True):
    """The result of the last attempts to send to a target; times are of the wall clock.

    ``failures`` counts attempts since the last success; ``digest_ms`` is the time for which the
    latest digest was due that the target accepted.
    """

    failures: int = 0
    failing_since_ms: int | None = None
    next_attempt_ms: int = 0
    error: str = ""
    fix: str = ""
    succeeded_ms: int | None = None
    digest_ms: int | None = None

    def after_success(self, now_ms: int) -> TargetState:
        """The state after the target accepted a message."""
        return TargetState(succeeded_ms=now_ms, digest_ms=self.digest_ms)

    def with_digest(self, due_ms: int) -> TargetState:
        """Return the state after the digest that was due at ``due_ms``."""
        return msgspec.structs.replace(self, digest_ms=due_ms)

    def after_failure(self, error: str, fix: str, now_ms: int, max_wait_ms: int) -> TargetState:
        """Return the state after a failure, which doubles the wait, up to ``max_wait_ms``.

        >>> state = TargetState()
        >>> for _ in range(3):
        ...     state = state.after_failure("HTTP 500", "wait", 0, 3_500)
        ...     print(state.next_attempt_ms)
        1000
        2000
        3500
        """
        failures = self.failures + 1
        wait_ms = min(FIRST_RETRY_MS * 2 ** min(failures - 1, 30), max_wait_ms)
        return msgspec.structs.replace(
            self,
            failures=failures,
            failing_since_ms=now_ms if self.failing_since_ms is None else self.failing_since_ms,
            next_attempt_ms=now_ms + wait_ms,
            error=error,
            fix=fix,
        )
