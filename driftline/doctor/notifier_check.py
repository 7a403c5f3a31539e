"""Health check of the notifier: whether it runs, and whether its targets accept messages.  Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from driftline.doctor.health_checks import (
    MAX_CLOCK_DIFFERENCE_MS,
    HealthCheckResult,
    format_duration,
    ok,
    problem,
    warning,
)

if TYPE_CHECKING:
    from driftline.notify.heartbeat import FailingTarget

NOTIFIER_SILENT_MS: Final = 60_000
"""A running notifier writes every 5 s."""
FAILING_MS: Final = 5 * 60_000
"""A target that fails for longer does not recover by a retry."""
_START: Final = "start it: driftline notify"
_CHECK: Final = "notifier"


class NotifierStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a notifier: time since its last heartbeat, unread alerts, its targets.

    ``since_last_message_ms`` is the time since a target accepted a message; ``None``: none did.
    """

    since_last_write_ms: int
    lag: int
    n_targets: int
    since_last_message_ms: int | None = None
    n_failing: int = 0
    failing: list[FailingTarget] = []
    web: str = ""


def check_notifier(
    seen: NotifierStatus | None, *, configured: Sequence[str], now_ms: int
) -> list[HealthCheckResult]:
    """Check whether people are notified.

    ``None``: no notifier has run with this prefix.  ``configured`` are the names of the targets in
    the settings.
    """
    if seen is None:
        return [_absent(configured)]
    targets = [_failing(each, now_ms) for each in seen.failing]
    if hidden := seen.n_failing - len(seen.failing):
        targets.append(
            problem(
                "notifier targets",
                f"{hidden} more targets accept no messages",
                "/healthz of the notifier names all of them, with the reasons",
            )
        )
    return [_running(seen, configured), *targets]


def notifier_denied(why: str) -> HealthCheckResult:
    """Return the result if this client may not read the notifier's heartbeat."""
    from producer.permission import PERMISSIONS_FIX  # noqa: PLC0415 - light imports

    return warning(_CHECK, why, PERMISSIONS_FIX)


def _absent(configured: Sequence[str]) -> HealthCheckResult:
    if not configured:
        found = "none has run, and no target is set: no message is sent about incidents"
        return ok(_CHECK, found)
    return problem(
        _CHECK,
        f"[notify.targets] has {', '.join(configured)}, but no notifier has run: no message "
        "is sent about incidents",
        _START,
    )


def _running(seen: NotifierStatus, configured: Sequence[str]) -> HealthCheckResult:
    silent_ms = seen.since_last_write_ms
    if silent_ms > NOTIFIER_SILENT_MS:
        return HealthCheckResult(
            check=_CHECK,
            level="problem" if configured else "warning",
            found=f"last seen {format_duration(silent_ms)} ago, {seen.lag} alerts behind: no "
            "message is sent about incidents",
            fix=f"{_START}; if it runs, /readyz of the notifier has the reason",
        )
    if silent_ms < -MAX_CLOCK_DIFFERENCE_MS:
        return warning(
            _CHECK,
            f"its clock is {format_duration(-silent_ms)} ahead of this machine's",
            "set both clocks (NTP): quiet hours and digests use the notifier's clock",
        )
    last = (
        "no message sent yet"
        if seen.since_last_message_ms is None
        else f"last message {format_duration(max(0, seen.since_last_message_ms))} ago"
    )
    targets = f"{seen.n_targets} target{'' if seen.n_targets == 1 else 's'}"
    return ok(_CHECK, f"runs, {seen.lag} alerts behind, {targets}, {last}")


def _failing(one: FailingTarget, now_ms: int) -> HealthCheckResult:
    failing_ms = max(0, now_ms - one.since_ms)
    test = f"driftline notify --test {one.target}"
    return HealthCheckResult(
        check=f"notifier target {one.target}",
        level="problem" if failing_ms >= FAILING_MS else "warning",
        found=f"has accepted no message for {format_duration(failing_ms)}: {one.why}",
        fix=one.fix if test in one.fix else f"{one.fix}; `{test}` sends a test message",
    )
