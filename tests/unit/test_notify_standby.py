"""Which of several notifiers sends: one at a time, whatever ends and whatever the clocks show."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline.notify.heartbeat import NotifierHeartbeat
from driftline.notify.standby import SILENT_MS, Role, RoleDecision

START_MS: Final = 1_700_000_000_000
STEP_MS: Final = 5_000
STEPS: Final = 2 * SILENT_MS // STEP_MS


class Process:
    """A notifier that reads the shared heartbeat, decides, and commits its own."""

    def __init__(self, name: str, now_ms: int, *, skew_ms: int = 0) -> None:
        self.name, self.skew_ms, self.started_ms = name, skew_ms, now_ms + skew_ms
        self.decision = RoleDecision(name, self.started_ms)

    def heartbeat(self, now_ms: int, *, stopped: bool = False) -> NotifierHeartbeat:
        return NotifierHeartbeat(
            time_ms=now_ms + self.skew_ms,
            n_targets=1,
            notifier_id=self.name,
            started_ms=self.started_ms,
            sends=self.decision.role == "sender",
            stopped=stopped,
        )

    def turn(self, seen: NotifierHeartbeat | None, now_ms: int) -> NotifierHeartbeat | None:
        """The heartbeat after this notifier's turn."""
        role = self.decision.decide(seen, now_ms + self.skew_ms)
        return seen if role == "standby" else self.heartbeat(now_ms)


def after(processes: list[Process], seen: NotifierHeartbeat | None, now_ms: int) -> int:
    """The time after a while, in which each process had many turns."""
    for _ in range(STEPS):
        now_ms += STEP_MS
        for one in processes:
            seen = one.turn(seen, now_ms)
    return now_ms


def roles(processes: list[Process]) -> list[Role]:
    return [one.decision.role for one in processes]


def test_a_single_notifier_sends_after_reading_its_own_heartbeat() -> None:
    one = Process("a", START_MS)
    own = one.turn(None, START_MS)
    assert roles([one]) == ["candidate"]
    one.turn(own, START_MS + 500)
    assert roles([one]) == ["sender"]


def test_a_second_notifier_waits_and_names_the_first() -> None:
    first, second = Process("b", START_MS), Process("a", START_MS - 60_000)
    seen = first.turn(first.turn(None, START_MS), START_MS + 500)
    second.turn(seen, START_MS + 600)
    assert roles([second]) == ["standby"]
    assert second.decision.other == seen


@pytest.mark.parametrize("ended", ["killed", "stopped"])
def test_a_standby_takes_over_from_one_that_ended(ended: str) -> None:
    first, second = Process("a", START_MS), Process("b", START_MS + 1_000)
    seen = first.turn(first.turn(None, START_MS), START_MS + 500)
    seen = second.turn(seen, START_MS + 1_000)
    now_ms = START_MS + 6_000
    seen = first.turn(seen, now_ms)
    second.turn(seen, now_ms)
    if ended == "stopped":
        seen = first.heartbeat(now_ms, stopped=True)
        seen = second.turn(seen, now_ms + STEP_MS)
    else:
        second.turn(seen, now_ms + SILENT_MS - 1)
        assert roles([second]) == ["standby"]
        seen = second.turn(seen, now_ms + SILENT_MS)
    second.turn(seen, now_ms + SILENT_MS + 500)
    assert roles([second]) == ["sender"]


def test_a_notifier_that_starts_again_does_not_wait_for_its_own_past() -> None:
    first = Process("a", START_MS)
    seen = first.turn(first.turn(None, START_MS), START_MS + 500)
    again = Process("a", START_MS + 1_000)
    again.turn(again.turn(seen, START_MS + 1_000), START_MS + 1_500)
    assert roles([again]) == ["sender"]


def test_without_permission_to_read_heartbeats_it_sends_after_a_while() -> None:
    one = Process("a", START_MS)
    one.turn(None, START_MS)
    one.turn(None, START_MS + SILENT_MS - 1)
    assert roles([one]) == ["candidate"]
    one.turn(None, START_MS + SILENT_MS)
    assert roles([one]) == ["sender"]


def test_heartbeats_of_earlier_versions_are_no_other_notifier() -> None:
    one = Process("a", START_MS)
    old = NotifierHeartbeat(time_ms=START_MS, n_targets=1)
    assert one.decision.decide(old, START_MS) == "candidate"


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["start", "kill", "stop", "pass"]),
        st.integers(0, 3),
        st.integers(-3_600_000, 3_600_000),
    ),
    max_size=30,
)


@given(EVENTS)
def test_after_a_while_exactly_one_of_those_that_run_sends(
    events: list[tuple[str, int, int]],
) -> None:
    """Starts, kills and stops in any order, with clocks that differ by up to an hour."""
    running: dict[str, Process] = {}
    seen: NotifierHeartbeat | None = None
    now_ms = START_MS
    for kind, number, skew_ms in events:
        now_ms += STEP_MS
        name = f"n{number}"
        if kind == "start":
            running.setdefault(name, Process(name, now_ms, skew_ms=skew_ms))
        elif kind in ("kill", "stop") and (one := running.pop(name, None)) is not None:
            is_silent = kind == "kill" or one.decision.role == "standby"
            seen = seen if is_silent else one.heartbeat(now_ms, stopped=True)
        for one in running.values():
            seen = one.turn(seen, now_ms)
    after([*running.values()], seen, now_ms)
    assert roles([*running.values()]).count("sender") == min(1, len(running))
