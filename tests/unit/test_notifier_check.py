"""Doctor reports a notifier that is absent or silent, and each target that fails."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from driftline.doctor.notifier_check import FAILING_MS, NotifierStatus, check_notifier
from driftline.notify.heartbeat import (
    FailingTarget,
    NotifierHeartbeat,
    heartbeat_text,
    notifier_heartbeat,
)
from driftline.notify.plan import TargetState
from stream_monitor.commit_metadata import MAX_METADATA_BYTES

NOW_MS = 1_790_000_000_000
CHAT = FailingTarget(
    target="chat", since_ms=NOW_MS - FAILING_MS, why="HTTP 500", fix="read the receiver's log"
)


def status(**changes: Any) -> NotifierStatus:
    fields = {"since_last_write_ms": 2_000, "lag": 0, "n_targets": 2}
    return NotifierStatus(**(fields | changes))


@pytest.mark.parametrize(
    ("seen", "configured", "levels", "text"),
    [
        (None, [], ["ok"], "no target is set"),
        (None, ["chat", "mail"], ["problem"], "[notify.targets] has chat, mail, but no notifier"),
        (status(), ["chat"], ["ok"], "runs, 0 alerts behind, 2 targets, no message sent yet"),
        (status(since_last_message_ms=7_200_000), [], ["ok"], "last message 2 h ago"),
        (status(since_last_write_ms=600_000, lag=7), ["a"], ["problem"], "10 min ago, 7 alerts"),
        (status(since_last_write_ms=600_000), [], ["warning"], "10 min ago"),
        (status(since_last_write_ms=-600_000), [], ["warning"], "10 min ahead"),
        (status(n_failing=1, failing=[CHAT]), [], ["ok", "problem"], "runs"),
        (status(n_failing=3, failing=[CHAT]), [], ["ok", "problem", "problem"], "runs"),
    ],
)
def test_people_that_are_not_notified_are_a_finding(
    seen: NotifierStatus | None, configured: list[str], levels: list[str], text: str
) -> None:
    found = check_notifier(seen, configured=configured, now_ms=NOW_MS)

    assert [each.level for each in found] == levels
    assert text in found[0].found
    assert all(each.fix for each in found if each.level != "ok")


def test_a_failing_target_is_named_with_its_reason_and_its_fix() -> None:
    recent = msgspec.structs.replace(CHAT, since_ms=NOW_MS - 1_000)
    _, target = check_notifier(status(n_failing=1, failing=[CHAT]), configured=[], now_ms=NOW_MS)
    _, begun = check_notifier(status(n_failing=1, failing=[recent]), configured=[], now_ms=NOW_MS)

    assert target.check == "notifier target chat"
    assert target.found == "has accepted no message for 5 min: HTTP 500"
    assert "read the receiver's log; `driftline notify --test chat`" in target.fix
    assert begun.level == "warning"


def test_the_heartbeat_has_the_last_message_and_fits_into_a_commit() -> None:
    fine = TargetState().after_success(NOW_MS - 5_000)
    failing = TargetState().after_failure("e" * 900, "f" * 900, NOW_MS, 1_000)
    states = {f"target-{number}": failing for number in range(40)} | {"fine": fine}

    beat = notifier_heartbeat(states, NOW_MS, "127.0.0.1:8795")
    text = heartbeat_text(beat)

    assert len(text.encode()) <= MAX_METADATA_BYTES
    decoded = msgspec.json.decode(text, type=NotifierHeartbeat)
    assert (decoded.n_targets, decoded.n_failing) == (41, 40)
    assert 0 < len(decoded.failing) < 40
    assert decoded.succeeded_ms == NOW_MS - 5_000
