"""Decides the next message of a target, and when a failed one is retried.  Time is an argument.

Nothing is queued: a message is due as long as the target has not accepted what it should know.  So
a target that failed for a day gets the present state of each incident, and not every step to it.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

from driftline.notify.schedule import Schedule, at_least
from driftline.notify.subjects import Subject
from stream_monitor.contracts import Severity

Action: TypeAlias = Literal["open", "update", "resolve"]


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """The last message about a subject that a target has accepted, at ``sent_ms`` (wall clock)."""

    severity: Severity
    is_open: bool
    content: str
    sent_ms: int


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """The wait of the first message for further episodes, and the time between updates."""

    group_wait_ms: int = 30_000
    update_interval_ms: int = 60_000


def due_action(
    subject: Subject,
    sent: Sent | None,
    *,
    in_place: bool,
    sends_resolved: bool,
    schedule: Schedule,
    pace: Pace,
    first_seen_ms: int,
    now_ms: int,
) -> Action | None:
    """The message that is due now; ``None`` if there is none, or not yet.

    A target that updates messages ``in_place`` gets every change; any other one gets the first
    message, one at each rise of the severity, and the last one.  Times are of the wall clock.
    """
    is_open = subject.closed_ms is None
    if sent is None or (is_open and not sent.is_open):
        waits_for_more = is_open and sent is None and now_ms < first_seen_ms + pace.group_wait_ms
        if (
            schedule.only_in_digest(subject.severity)
            or schedule.waits(subject.severity, now_ms)
            or waits_for_more
            or not (is_open or sends_resolved)
        ):
            return None
        return "open" if is_open else "resolve"
    if not is_open:
        waits = not in_place and schedule.waits(sent.severity, now_ms)
        return "resolve" if sent.is_open and sends_resolved and not waits else None
    if in_place:
        has_changed = subject.content != sent.content
        is_time = now_ms >= sent.sent_ms + pace.update_interval_ms
        return "update" if has_changed and is_time else None
    is_worse = not at_least(sent.severity, subject.severity)
    return "update" if is_worse and not schedule.waits(subject.severity, now_ms) else None


def closes_silently(subject: Subject, sent: Sent | None, *, sends_resolved: bool) -> bool:
    """Whether the subject has ended, and the target wants no message about it."""
    return (
        sent is not None and sent.is_open and subject.closed_ms is not None and not sends_resolved
    )


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
