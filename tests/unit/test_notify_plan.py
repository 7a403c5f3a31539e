"""A target's next message follows from the incident, its earlier messages, and the time."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline.notify.plan import (
    FIRST_RETRY_MS,
    Action,
    Pace,
    Sent,
    TargetState,
    closes_silently,
    due_action,
)
from driftline.notify.schedule import DailySpan, Schedule
from driftline.notify.subjects import Subject
from tests.unit.notify_subjects import HOUR_MS, MINUTE_MS, NOON_MS, a_subject, an_episode

PACE = Pace(group_wait_ms=30_000, update_interval_ms=60_000)
LATER_MS = NOON_MS + HOUR_MS
NIGHT = Schedule(quiet_hours=DailySpan.parse("11:00-14:00"))


def due(subject: Subject, sent: Sent | None = None, **changes: Any) -> Action | None:
    options: dict[str, Any] = {
        "in_place": False,
        "sends_resolved": True,
        "schedule": Schedule(),
        "pace": PACE,
        "first_seen_ms": NOON_MS,
        "now_ms": LATER_MS,
    }
    return due_action(subject, sent, **(options | changes))


def sent_of(subject: Subject) -> Sent:
    return Sent(
        severity=subject.severity,
        is_open=subject.closed_ms is None,
        content=subject.content,
        sent_ms=NOON_MS,
    )


def closed(subject: Subject) -> Subject:
    return a_subject(severity=subject.severity, closed_ms=NOON_MS + 1)


def test_the_first_message_waits_for_further_episodes() -> None:
    assert due(a_subject(), now_ms=NOON_MS + 29_999) is None
    assert due(a_subject(), now_ms=NOON_MS + 30_000) == "open"


@pytest.mark.parametrize("in_place", [False, True])
def test_a_message_that_was_accepted_is_not_sent_again(*, in_place: bool) -> None:
    for subject in (a_subject(), closed(a_subject())):
        assert due(subject, sent_of(subject), in_place=in_place) is None


def test_one_message_an_incident_unless_it_becomes_worse() -> None:
    sent = sent_of(a_subject())
    more = a_subject(episodes=[an_episode("age"), an_episode("plan")])

    assert due(more, sent) is None
    assert due(a_subject(severity="high"), sent) == "update"
    assert due(a_subject(severity="low"), sent) is None


def test_a_message_that_can_be_replaced_follows_every_change_at_its_pace() -> None:
    sent = sent_of(a_subject())
    for changed in (a_subject(acknowledged_by="ana"), a_subject(severity="low")):
        assert due(changed, sent, in_place=True, now_ms=NOON_MS + 59_999) is None
        assert due(changed, sent, in_place=True, now_ms=NOON_MS + 60_000) == "update"


@pytest.mark.parametrize("in_place", [False, True])
def test_the_end_is_sent_once_to_targets_that_ask_for_it(*, in_place: bool) -> None:
    subject = a_subject()
    ended = closed(subject)

    assert due(ended, sent_of(subject), in_place=in_place) == "resolve"
    assert due(ended, sent_of(subject), in_place=in_place, sends_resolved=False) is None
    assert closes_silently(ended, sent_of(subject), sends_resolved=False)
    assert not closes_silently(ended, sent_of(subject), sends_resolved=True)


def test_an_incident_that_ended_before_it_was_sent_is_one_message() -> None:
    assert due(closed(a_subject())) == "resolve"
    assert due(closed(a_subject()), sends_resolved=False) is None


def test_an_incident_that_opens_once_more_is_sent_at_once() -> None:
    sent = sent_of(closed(a_subject()))

    assert due(a_subject(), sent, now_ms=NOON_MS, first_seen_ms=NOON_MS) == "open"


def test_quiet_hours_keep_messages_until_they_end() -> None:
    sent = sent_of(a_subject(severity="low"))
    waiting: list[tuple[Subject, Sent | None]] = [
        (a_subject(), None),
        (a_subject(), sent),
        (closed(a_subject()), sent),
    ]
    for subject, before in waiting:
        assert due(subject, before, schedule=NIGHT) is None
        assert due(subject, before, schedule=NIGHT, now_ms=NOON_MS + 2 * HOUR_MS) is not None
    assert due(a_subject(severity="high"), schedule=NIGHT) == "open"


def test_an_end_that_replaces_a_message_does_not_wait() -> None:
    sent = sent_of(a_subject())

    assert due(closed(a_subject()), sent, in_place=True, schedule=NIGHT) == "resolve"


def test_a_digest_subject_has_no_message_until_its_severity_rises() -> None:
    digest = Schedule(digest_minute=480, digest_below="high")

    assert due(a_subject(), schedule=digest) is None
    assert due(closed(a_subject()), schedule=digest) is None
    assert due(a_subject(severity="high"), schedule=digest) == "open"


@given(st.integers(1, 200), st.integers(1_000, 10**6))
def test_the_wait_after_a_failure_grows_to_a_bound(n_failures: int, max_wait_ms: int) -> None:
    state, now_ms, waits = TargetState(), NOON_MS, []
    for _ in range(n_failures):
        state = state.after_failure("HTTP 500", "wait", now_ms, max_wait_ms)
        waits.append(state.next_attempt_ms - now_ms)
        now_ms = state.next_attempt_ms

    assert waits == sorted(waits)
    assert all(min(FIRST_RETRY_MS, max_wait_ms) <= wait <= max_wait_ms for wait in waits)
    assert state.failing_since_ms == NOON_MS
    assert state.after_success(now_ms) == TargetState(succeeded_ms=now_ms)


def test_a_digest_that_was_sent_is_remembered_through_failures_and_successes() -> None:
    state = TargetState().with_digest(NOON_MS)

    assert state.after_failure("x", "y", NOON_MS, MINUTE_MS).digest_ms == NOON_MS
    assert state.after_success(NOON_MS).digest_ms == NOON_MS
