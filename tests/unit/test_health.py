"""Health problems of processes: identified by a stable key, published once, closed when solved."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from stream_monitor.commit_metadata import LastHeartbeat
from stream_monitor.contracts import HEALTH_CE_TYPE, HealthEvent
from stream_monitor.health import STALE_S, TRAINER_SILENT_S, Health, OwnerStatus
from stream_monitor.metrics import Metrics
from stream_monitor.runtime import health_reporter as watching
from stream_monitor.runtime.health_reporter import CHECK_INTERVAL_S as WORKERS_LOOK_S
from stream_monitor.runtime.health_reporter import HealthReporter, health_key
from stream_monitor.runtime.partitions import OwnedPartitions
from stream_monitor.settings import Settings
from stream_monitor.state.redis_store import partition_key
from stream_monitor.trainer_heartbeat import TrainerHeartbeat
from tests.memory_store import InMemoryStateStore
from trainer.service.metrics import TrainerMetrics
from trainer.service.monitor_watch import EMPTY_GROUP_S, MonitorWatch
from trainer.service.trainer import CHECK_INTERVAL_S as TRAINER_LOOKS_S

ALIVE, TOPIC = OwnerStatus("e", 1_000), "p.events.v1"


def test_an_owner_that_writes_is_alive_with_any_clock() -> None:
    health = Health(TOPIC)
    for now_s in range(0, 200, 15):
        health.observe({0: ALIVE, 1: OwnerStatus("f", now_s)}, None, float(now_s))

    found = health.problems(200.0, 5, ours=[])
    assert [(p.kind, p.subject) for p in found] == [("partition_without_owner", f"{TOPIC}:0")]
    assert health.problems(200.0, 5, ours=[0]) == health.problems(200.0, 5, ours=[], held=[0]) == []


def test_the_owner_of_the_lowest_partition_that_lives_publishes() -> None:
    health = Health(TOPIC)
    health.observe({0: ALIVE, 1: OwnerStatus("f", 1)}, None, 0.0)
    assert [health.is_reporter(ours, 1.0) for ours in ([0], [1], [])] == [True, False, False]

    health.observe({0: ALIVE, 1: OwnerStatus("f", 2)}, None, STALE_S + 1)
    assert [health.is_reporter(ours, STALE_S + 1) for ours in ([1], [])] == [True, False]


def test_a_stopped_partition_and_a_silent_trainer_are_named_with_what_to_do() -> None:
    health = Health(TOPIC)
    health.observe({0: OwnerStatus("e", 7, "1,000 rejected")}, 9, 0.0)
    health.observe({0: OwnerStatus("e", 7, "1,000 rejected")}, 9, TRAINER_SILENT_S + 1)
    stopped, silent = health.problems(TRAINER_SILENT_S + 1, 100, ours=[0])

    assert (stopped.kind, stopped.since_ms) == ("partition_stopped", 7)
    assert "1,000 rejected" in stopped.explanation
    assert (silent.kind, silent.fix) == ("trainer_silent", "start it: driftline train")
    assert stopped.problem_id != silent.problem_id


def test_repeats_of_several_workers_have_one_id_and_the_next_time_another() -> None:
    ids = []
    for written_ms, late in ((1_000, 0.0), (1_000, 3.0), (2_000, 9.0)):
        health, sign = Health(TOPIC), OwnerStatus("e", written_ms)
        health.observe({0: sign}, None, late)
        health.observe({0: sign}, None, late + STALE_S + 1)
        [problem] = health.problems(late + STALE_S + 1, round(late), ours=[])
        ids.append((problem.event("started", 5).health_id, problem.event("resolved", 6).health_id))

    assert ids[0] == ids[1] != ids[2]
    assert len(set(ids[0])) == 2


class Published:
    """A publisher of a topic of one partition, that keeps what it is given."""

    def __init__(self) -> None:
        self.events: list[HealthEvent] = []

    def partitions(self, topic: str, timeout_s: float) -> int:
        del topic, timeout_s
        return 1

    async def publish(self, topic: str, *, value: bytes, headers: Any, **_: Any) -> Any:
        assert (topic, dict(headers)["ce_type"]) == ("p.alerts.v1", HEALTH_CE_TYPE.encode())
        self.events.append(msgspec.json.decode(value, type=HealthEvent))
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done


def test_the_next_worker_reports_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    note = LastHeartbeat(heartbeat=TrainerHeartbeat(time_ms=5), positions={})
    monkeypatch.setattr(watching, "last_heartbeat", lambda *_: note)
    store, published = InMemoryStateStore(), Published()
    key = partition_key(TOPIC, 0)
    store.hashes[key] = {"_epoch": b"e", "_ts": b"7", "_stopped": b"all rejected"}

    def watch() -> HealthReporter:
        made = HealthReporter(
            OwnedPartitions(),
            published,  # type: ignore[arg-type]
            store,
            Metrics(),
            topic=TOPIC,
            alerts="p.alerts.v1",
            prefix="p",
            client={},
        )
        monkeypatch.setattr(made._health, "is_reporter", lambda *_: True)
        return made

    async def run() -> None:
        first = watch()
        await first.check()
        await store.write_fields(health_key(TOPIC), {"foreign": b"\xff"})
        await first.check()
        store.hashes[key] = {"_epoch": b"f", "_ts": b"8", "_stopped": b""}
        await watch().check()
        await watch().check()

    asyncio.run(run())
    assert store.hashes[health_key(TOPIC)] == {}
    assert [(e.phase, e.kind) for e in published.events] == [
        ("started", "partition_stopped"),
        ("resolved", "partition_stopped"),
    ]
    assert len({event.problem_id for event in published.events}) == 1


def test_the_trainer_reports_that_no_worker_lives_and_that_one_returned() -> None:
    watch = MonitorWatch({}, "p.monitor", TOPIC, "p.alerts.v1")
    assert (
        watch.observe(0.0, 100, has_members=False)
        == watch.observe(5.0, 105, has_members=True)
        == []
    )
    assert (
        watch.observe(10.0, 110, has_members=False)
        == watch.observe(10.0 + EMPTY_GROUP_S, 170, has_members=False)
        == []
    )
    [started] = watch.observe(11.0 + EMPTY_GROUP_S, 171, has_members=False)
    assert watch.observe(99.0 + EMPTY_GROUP_S, 259, has_members=False) == []
    [resolved] = watch.observe(100.0 + EMPTY_GROUP_S, 300, has_members=True)
    events = [msgspec.json.decode(x.value, type=HealthEvent) for x in (started, resolved)]

    assert started.kind == HEALTH_CE_TYPE
    assert [(e.phase, e.kind, e.since_ms) for e in events] == [
        ("started", "no_worker", 110),
        ("resolved", "no_worker", 110),
    ]
    assert events[0].fix == "start a worker: driftline monitor"


def test_the_trainers_metrics_name_that_no_worker_lives() -> None:
    watch, metrics = MonitorWatch({}, "p.monitor", TOPIC, "p.alerts.v1"), TrainerMetrics()
    line = b'driftline_health_problem{kind="no_worker",subject="p.monitor"} 1.0'
    watch.observe(0.0, 100, has_members=False)
    watch.observe(1.0 + EMPTY_GROUP_S, 101, has_members=False)
    metrics.see([one for one in (watch.problem,) if one])
    assert line in metrics.text()
    watch.observe(2.0 + EMPTY_GROUP_S, 102, has_members=True)
    metrics.see([one for one in (watch.problem,) if one])
    assert line not in metrics.text()


def test_a_dead_worker_or_trainer_is_reported_within_a_minute() -> None:
    session_s = Settings().kafka.session_timeout_s
    assert session_s + EMPTY_GROUP_S + TRAINER_LOOKS_S <= 60
    assert TRAINER_SILENT_S + WORKERS_LOOK_S <= 60
    assert STALE_S + WORKERS_LOOK_S <= 60
