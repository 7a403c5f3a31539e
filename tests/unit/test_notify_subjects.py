"""A subject keeps its id, whatever arrives later; each problem is one subject."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from driftline.notify.alert_history import AlertHistory, StoredRecord, Unreadable, stored_record_of
from driftline.notify.failing_targets import REPORTED_AFTER_MS, concerns, subjects_of_targets
from driftline.notify.plan import TargetState
from driftline.notify.routing import Route, targets_of
from driftline.notify.subjects import subjects_of_alerts, subjects_of_health
from driftline.topics.topic_reader import Record
from stream_monitor.contracts import HEALTH_CE_TYPE, DriftAlert, HealthEvent
from stream_monitor.episodes.incidents import IncidentPolicy
from tests.builders import alert
from tests.unit.notify_subjects import HOUR_MS, NOON_MS, a_subject

DAY_MS = 24 * HOUR_MS
POLICY = IncidentPolicy()


def started(name: str, hours: float, **changes: Any) -> DriftAlert:
    fields: dict[str, Any] = {
        "alert_id": f"{name}-started",
        "episode_id": name,
        "series": f"feature/{name}",
        "feature": name,
        "onset_ms": NOON_MS + round(hours * HOUR_MS),
        "decided_ms": NOON_MS + round((hours + 1) * HOUR_MS),
        "decided_offset": round(hours * 100) + 10_000,
    }
    return alert(**(fields | changes))


def health(phase: str, **changes: Any) -> HealthEvent:
    fields: dict[str, Any] = {
        "health_id": f"h-{phase}",
        "problem_id": "p",
        "phase": phase,
        "kind": "trainer_silent",
        "subject": "trainer",
        "since_ms": NOON_MS,
        "time_ms": NOON_MS + HOUR_MS,
        "explanation": f"the trainer is {phase}",
        "fix": "start it",
    }
    return HealthEvent(**(fields | changes))


def record_of(body: bytes, kind: str | None = None) -> Record:
    return Record(0, 7, kind, body)


def stored(*alerts: DriftAlert) -> list[StoredRecord]:
    found = [stored_record_of(record_of(msgspec.json.encode(one))) for one in alerts]
    return [one for one in found if isinstance(one, StoredRecord)]


def test_an_earlier_episode_that_arrives_late_does_not_change_the_subject() -> None:
    second = started("b", 5)
    (before,) = subjects_of_alerts([second], POLICY, {}).subjects
    known = dict.fromkeys(["b"], before.subject_id)

    (after,) = subjects_of_alerts([started("a", 0), second], POLICY, known).subjects

    assert after.subject_id == before.subject_id
    assert after.incident_id != before.incident_id
    assert [episode.episode_id for episode in after.episodes] == ["a", "b"]


def test_two_subjects_that_an_episode_connects_become_the_elder_one() -> None:
    first, last = started("a", 0), started("c", 40)
    apart = subjects_of_alerts([first, last], POLICY, {}).subjects
    history = AlertHistory(POLICY, {})
    history.add(stored(first, last))
    history.regroup()
    assert {s.subject_id for s in history.subjects()} == {s.subject_id for s in apart}

    history.add(stored(started("b", 20)))
    history.regroup()

    joined, ended = history.subjects()
    assert [joined.subject_id, ended.subject_id] == [s.subject_id for s in apart]
    assert joined.closed_ms is None
    assert len(joined.episodes) == 3
    assert ended.closed_ms is not None


@given(st.permutations(range(6)), st.lists(st.integers(0, 120), min_size=6, max_size=6))
def test_each_episode_has_one_open_subject_in_any_order_of_arrival(
    order: list[int], hours: list[int]
) -> None:
    history = AlertHistory(POLICY, {})
    ever: set[str] = set()
    for number in order:
        history.add(stored(started(f"e{number}", hours[number])))
        history.regroup()
        subjects = history.subjects()
        ids = [subject.subject_id for subject in subjects]
        assert len(ids) == len(set(ids))
        ever |= set(ids)
        shown = [e.episode_id for s in subjects if s.closed_ms is None for e in s.episodes]
        assert len(shown) == len(set(shown))
        assert ever >= set(history.members.values())


def test_coverage_is_a_subject_of_its_own_with_its_end() -> None:
    gap = started("gap", 0, kind="coverage", series="coverage/no_profile")
    end = started("gap", 2, kind="coverage", phase="recovered", alert_id="gap-over")

    (open_gap,) = subjects_of_alerts([gap], POLICY, {}).subjects
    (closed_gap,) = subjects_of_alerts([gap, end], POLICY, {}).subjects

    assert (open_gap.source, open_gap.kinds, open_gap.closed_ms) == ("coverage", ["coverage"], None)
    assert closed_gap.subject_id == open_gap.subject_id
    assert closed_gap.closed_ms == end.decided_ms


def test_a_health_problem_is_one_subject_with_what_to_do() -> None:
    (problem,) = subjects_of_health([health("started"), health("started")])
    (over,) = subjects_of_health([health("started"), health("resolved")])

    assert (problem.kinds, problem.severity, problem.fix) == (["health"], "high", "start it")
    assert over.subject_id == problem.subject_id
    assert (over.closed_ms, over.fix) == (NOON_MS + HOUR_MS, "")


def test_records_that_are_no_alerts_are_named_and_drills_are_left_out() -> None:
    event = record_of(msgspec.json.encode(health("started")), HEALTH_CE_TYPE)

    assert isinstance(stored_record_of(event), StoredRecord)
    assert stored_record_of(record_of(msgspec.json.encode(started("a", 0, drill=True)))) is None
    for body in (b"", b"{}", b"\xff", b"[" * 100_000):
        assert isinstance(stored_record_of(record_of(body)), Unreadable)


def test_a_forgotten_subject_removes_its_records() -> None:
    history = AlertHistory(POLICY, {})
    history.add(stored(started("a", 0), started("z", 20 * 24)))
    history.regroup()
    first, second = history.subjects()

    assert history.forget(first) == ["alert/a-started"]
    assert history.subjects() == [second]
    assert list(history.members) == ["z"]
    assert len(history) == 1


def test_routes_choose_by_model_kind_and_severity() -> None:
    routes = [
        Route(targets=["all"]),
        Route(targets=["eu"], models=["churn-*"]),
        Route(targets=["pager"], min_severity="high", kinds=["data", "health"]),
    ]

    assert targets_of(a_subject(), routes) == {"all"}
    assert targets_of(a_subject(model="churn-eu"), routes) == {"all", "eu"}
    assert targets_of(a_subject(severity="high"), routes) == {"all", "pager"}
    assert targets_of(a_subject(severity="high", kinds=["concept"]), routes) == {"all"}
    (problem,) = subjects_of_health([health("started")])
    assert targets_of(problem, routes) == {"all", "pager"}


def test_a_target_that_fails_for_long_is_reported_to_the_others_until_it_works() -> None:
    failing = TargetState().after_failure("HTTP 500", "check the url", NOON_MS, 1_000)
    late_ms = NOON_MS + REPORTED_AFTER_MS

    assert subjects_of_targets({"chat": failing}, [], late_ms - 1) == []
    (problem,) = subjects_of_targets({"chat": failing}, [], late_ms)
    assert problem.closed_ms is None
    assert "HTTP 500" in problem.explanation
    assert (problem.fix, problem.kinds) == ("check the url", ["health"])
    assert concerns(problem, "chat")
    assert not concerns(problem, "chat2")
    (over,) = subjects_of_targets({"chat": TargetState()}, [problem.subject_id], late_ms)
    assert over.subject_id == problem.subject_id
    assert over.closed_ms == late_ms
