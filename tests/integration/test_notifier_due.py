"""The messages that the notifier sends from stored alerts alone, without Kafka."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from driftline.notify.alert_history import StoredRecord
from driftline.notify.messages import digest_text
from driftline.notify.notice_store import NoticeStore
from driftline.notify.notifier import DAY_MS, KEPT_MS, Notifier
from driftline.notify.plan import TargetState
from driftline.notify.settings import Settings
from driftline.stack.server_process import free_port
from driftline.topics.incident_digest import digests
from stream_monitor.contracts import DriftAlert
from stream_monitor.episodes.incidents import incidents_of
from tests.integration.http_sink import HttpSink, http_sink
from tests.integration.test_notifier import ended, started


@pytest.fixture
def sink() -> Iterator[HttpSink]:
    with http_sink() as running:
        yield running


def stored(data_dir: Path, *alerts: DriftAlert) -> None:
    """Store alerts as a notifier does that has read all of the topic."""
    store = NoticeStore(data_dir)
    with store.transaction():
        store.set_caught_up()
        store.add_records(
            StoredRecord(f"alert/{one.alert_id}", is_health=False, body=msgspec.json.encode(one))
            for one in alerts
        )
    store.close()


def notifier_of(
    data_dir: Path,
    sink: HttpSink,
    *,
    now_ms: int = 0,
    others: dict[str, Any] | None = None,
    **target: Any,
) -> Notifier:
    values: dict[str, Any] = {
        "kafka": {"bootstrap_servers": f"127.0.0.1:{free_port()}"},
        "notify": {
            "data_dir": data_dir,
            "group_wait_s": 0,
            "targets": {"chat": {"url": f"json://{sink.host}", **target}, **(others or {})},
        },
    }
    return Notifier(Settings(**values), wall_ms=lambda: now_ms)


def send(notifier: Notifier, now_ms: int, name: str = "chat") -> None:
    """Send what is due to a target, until nothing is."""
    notifier._regroup(now_ms)
    target = notifier.targets[name]
    while True:
        notifier._send_due(now_ms)
        outcome = target.finished(wait=True)
        if outcome is None:
            return
        notifier._record(target, outcome)


def recent(name: str, **changes: Any) -> DriftAlert:
    now_ms = time.time_ns() // 1_000_000
    return started(name, onset_ms=now_ms, decided_ms=now_ms, **changes)


def test_waiting_messages_are_sent_while_kafka_is_away(tmp_path: Path, sink: HttpSink) -> None:
    stored(tmp_path, recent("age"))

    with notifier_of(tmp_path, sink) as notifier:
        send(notifier, time.time_ns() // 1_000_000)
        assert not notifier.readiness()["ready"]
    with notifier_of(tmp_path, sink) as notifier:
        send(notifier, time.time_ns() // 1_000_000)

    assert len(sink.accepted) == 1


def test_the_digest_is_sent_once_a_day_with_subjects_that_have_no_message(
    tmp_path: Path, sink: HttpSink
) -> None:
    stored(tmp_path, recent("age", severity="low"))
    now_ms = time.time_ns() // 1_000_000
    options: dict[str, Any] = {"digest_at": "00:00", "digest_below": "high"}

    with notifier_of(tmp_path, sink, **options) as notifier:
        send(notifier, now_ms)  # the first digest comes at its next time
        assert sink.accepted == []
        send(notifier, now_ms + DAY_MS)
    with notifier_of(tmp_path, sink, **options) as notifier:
        send(notifier, now_ms + DAY_MS)

    (posted,) = sink.accepted
    assert posted.body["title"].startswith("[digest] 1 incidents opened")
    assert "churn" in posted.body["message"]


def test_a_new_target_gets_open_subjects_and_no_ended_ones(tmp_path: Path, sink: HttpSink) -> None:
    now_ms = time.time_ns() // 1_000_000
    over = started("old", model="past"), ended("old", model="past")
    stored(tmp_path, recent("age"), *over)
    with notifier_of(tmp_path, sink, now_ms=now_ms) as notifier:
        send(notifier, now_ms)
    assert len(sink.accepted) == 2  # one of them ended while no notifier ran

    values = {"mail": {"url": f"json://{sink.host}/mail"}}
    with notifier_of(tmp_path, sink, now_ms=now_ms + 1, others=values) as notifier:
        send(notifier, now_ms + 60_000, "mail")

    (posted,) = (one for one in sink.accepted if one.path == "/mail")
    assert posted.body["title"].startswith("[medium] churn")


def test_a_digest_without_incidents_states_it() -> None:
    assert "No incident was open" in digest_text([], "").body
    some = digests(incidents_of([recent("age")]), DAY_MS)
    assert digest_text(some, "https://d.example").body.endswith("https://d.example")


def test_a_target_that_was_failing_is_tried_once_its_wait_is_over(
    tmp_path: Path, sink: HttpSink
) -> None:
    now_ms = time.time_ns() // 1_000_000
    stored(tmp_path, recent("age"))
    store = NoticeStore(tmp_path)
    with store.transaction():
        store.set_target_state("chat", TargetState().after_failure("x", "y", now_ms, 60_000))
    store.close()

    with notifier_of(tmp_path, sink) as notifier:
        send(notifier, now_ms)
        assert sink.accepted == []
        assert notifier.health()["targets"]["chat"]["fix"] == "y"
        send(notifier, now_ms + 1_000)
        assert len(sink.accepted) == 1


def test_ended_incidents_are_forgotten_after_a_while_and_open_ones_are_not(
    tmp_path: Path, sink: HttpSink
) -> None:
    now_ms = time.time_ns() // 1_000_000
    stored(tmp_path, recent("age"), started("old", model="past"), ended("old", model="past"))

    with notifier_of(tmp_path, sink) as notifier:
        send(notifier, now_ms)
        notifier._prune(now_ms + KEPT_MS + DAY_MS)
        assert [s.model for s in notifier._history.subjects()] == ["churn"]
    store = NoticeStore(tmp_path)
    assert [record.record_id for record in store.records()] == ["alert/age-started"]
    assert list(store.members()) == ["episode-of-age"]
    store.close()
