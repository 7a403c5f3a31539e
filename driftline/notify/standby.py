"""Decides which of several notifiers of a prefix sends; the others are standbys.  Pure.

Every notifier reads the heartbeat that the sending one commits.  A notifier that sends keeps
sending; a standby takes over when the heartbeat has stopped, or states that its notifier has ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from driftline.notify.heartbeat import NotifierHeartbeat

SILENT_MS: Final = 30_000
"""A notifier whose heartbeat has not changed for this time has ended; it writes every 5 s."""

Role: TypeAlias = Literal["candidate", "sender", "standby"]


class RoleDecision:
    """The role of one notifier; it begins as a candidate.

    A candidate commits a heartbeat, and sends once it reads its own.  So of two that start at the
    same time the one that started first sends.

    Args:
        notifier_id: identifies the database of the notifier.
        started_ms: the start of the process (wall clock).
    """

    def __init__(self, notifier_id: str, started_ms: int) -> None:
        self.role: Role = "candidate"
        self.other: NotifierHeartbeat | None = None
        """The latest heartbeat of another notifier, as long as this one is its standby."""
        self._own = (started_ms, notifier_id)
        self._candidate_since_ms: int | None = None
        self._changed_ms = 0
        self._latest: tuple[str, int] | None = None

    def decide(self, seen: NotifierHeartbeat | None, now_ms: int) -> Role:
        """The role after reading the heartbeat ``seen``; ``None``: there is none, or no permission.

        ``now_ms`` is the wall clock.  Clocks of two hosts are compared at the first heartbeat only:
        later, a heartbeat that changes is that of a notifier that runs.
        """
        other = seen if seen is not None and seen.notifier_id not in ("", self._own[1]) else None
        is_alive = other is not None and self._is_alive(other, now_ms)
        self.other = None
        if other is not None and is_alive and not self._precedes(other):
            self.role, self.other, self._candidate_since_ms = "standby", other, None
        elif self.role != "sender":
            self.role = self._after_waiting(seen, now_ms)
        return self.role

    def _is_alive(self, other: NotifierHeartbeat, now_ms: int) -> bool:
        latest = (other.notifier_id, other.time_ms)
        if latest != self._latest:
            # The first one may be old; a later one was written since the last look.
            self._changed_ms = now_ms if self._latest else min(now_ms, other.time_ms)
            self._latest = latest
        return not other.stopped and now_ms - self._changed_ms < SILENT_MS

    def _precedes(self, other: NotifierHeartbeat) -> bool:
        """Whether this notifier continues although the other one runs."""
        is_first = self._own < (other.started_ms, other.notifier_id)
        if self.role == "sender":
            return is_first
        return self.role == "candidate" and is_first and not other.sends

    def _after_waiting(self, seen: NotifierHeartbeat | None, now_ms: int) -> Role:
        """A candidate sends when it has read its own heartbeat, or when nothing can be read."""
        if self.role == "standby" or self._candidate_since_ms is None:
            self._candidate_since_ms = now_ms
            return "candidate"
        is_own = seen is not None and (seen.started_ms, seen.notifier_id) == self._own
        is_mute = now_ms - self._candidate_since_ms >= SILENT_MS
        return "sender" if is_own or is_mute else "candidate"
