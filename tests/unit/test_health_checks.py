from __future__ import annotations

from typing import Any

import msgspec
import pytest

from driftline.doctor.cluster_checks import Copies, TopicSpec, check_topic
from driftline.doctor.health_checks import (
    MAX_BEHIND_MS,
    MAX_EPISODES,
    SILENT_MS,
    HealthCheckResult,
    PartitionStatus,
    TrainerStatus,
    check_dead_letters,
    check_episodes,
    check_partition,
    check_redis,
    check_routing,
    check_trainer,
    check_workers,
    lines_of,
    worst,
)
from driftline.topics.dead_letter_queue import group_dead_letters
from stream_monitor.contracts import DeadLetter
from stream_monitor.worker_heartbeat import (
    HEARTBEAT_RETENTION_MS,
    WORKER_TIMEOUT_MS,
    WorkerHeartbeat,
    alive,
    decode_heartbeats,
    expired,
)
from tests.builders import alert, dead_letter

NOW_MS = 1_790_000_000_000
LOG = TopicSpec(
    name="d.events.v1", partitions=4, config={"cleanup.policy": "delete", "retention.ms": "3600000"}
)


def partition_status(**changes: Any) -> PartitionStatus:
    fields: dict[str, Any] = {
        "partition": 0,
        "next": 10,
        "end": 10,
        "since_last_write_ms": 100,
        "unpublished": 0,
    }
    return PartitionStatus(**(fields | changes))


@pytest.mark.parametrize(
    ("partitions", "config", "level"),
    [
        (None, None, "problem"),
        (4, {"cleanup.policy": "delete"}, "ok"),
        (4, None, "ok"),
        (4, {}, "ok"),
        (4, {"cleanup.policy": "compact"}, "warning"),
        (4, {"retention.ms": "1000"}, "warning"),
        (4, {"retention.ms": "7200000"}, "ok"),  # longer is no fault
        (4, {"retention.ms": "-1"}, "ok"),  # for ever
        (6, {"cleanup.policy": "delete"}, "ok"),
        (2, {"cleanup.policy": "delete"}, "warning"),
    ],
)
def test_a_topic_is_compared_with_the_registry(
    partitions: int | None, config: dict[str, str] | None, level: str
) -> None:
    assert check_topic(LOG, partitions, config).level == level


@pytest.mark.parametrize(
    ("replicas", "brokers", "least", "level"),
    [
        (1, 1, "1", "ok"),
        (1, 3, "1", "warning"),
        (2, 3, "1", "ok"),
        (3, 3, "1", "warning"),
        (3, 3, "2", "ok"),
        (3, 3, "3", "warning"),
        (3, 1, "2", "ok"),  # two of three brokers are down: that is not how it was made
    ],
)
def test_copies_are_safe_and_one_broker_may_be_down(
    replicas: int, brokers: int, least: str, level: str
) -> None:
    config = {"min.insync.replicas": least}
    found = check_topic(LOG, 4, config, copies=Copies(replicas=replicas), brokers=brokers)

    assert found.level == level
    assert bool(found.fix) == (level == "warning")


def test_a_missing_broker_is_reported_with_the_affected_partitions() -> None:
    config = {"min.insync.replicas": "2"}
    one_gone = Copies(replicas=3, lacking=(0, 1), absent=(2,))
    no_leader = Copies(replicas=3, lacking=(0, 1), leaderless=(1,), absent=(2, 3))
    lacks = check_topic(LOG, 4, config, copies=one_gone, brokers=2)
    stands = check_topic(LOG, 4, config, copies=no_leader, brokers=1)

    assert lacks.level == "warning"
    assert lacks.found == "2 partitions have a replica that is not in sync, on broker 2"
    assert stands.level == "problem"
    assert "no broker serves partition 1" in stands.found
    assert "start broker 2, 3" in stands.fix


@pytest.mark.parametrize(
    ("found", "level", "expected"),
    [
        (partition_status(), "ok", "at 10, 0 behind"),
        (partition_status(end=500), "ok", "at 10, 490 behind"),
        (partition_status(end=500, behind_ms=MAX_BEHIND_MS), "ok", "at 10, 490 behind"),
        (
            partition_status(end=500, behind_ms=1_200_000),
            "warning",
            "490 records behind, the oldest 20 min old or less",
        ),
        (partition_status(behind_ms=1_200_000), "ok", "at 10, 0 behind"),  # nothing to read
        (partition_status(unpublished=3), "ok", "3 alerts or windows not published yet"),
        (
            partition_status(next=None, end=0, since_last_write_ms=None),
            "warning",
            "no worker has run",
        ),
        (
            partition_status(next=None, end=5, since_last_write_ms=None),
            "problem",
            "no worker owns it, 5 records",
        ),
        (
            partition_status(next=None, end=5, since_last_write_ms=None, worker_runs=True),
            "warning",
            "no worker owns it, 5 records",
        ),
        (
            partition_status(end=500, since_last_write_ms=None),
            "problem",
            "no worker owns it, 490 records",
        ),
        (
            partition_status(end=500, since_last_write_ms=SILENT_MS + 1),
            "problem",
            "last seen 30 s ago, 490 records",
        ),
        (
            partition_status(since_last_write_ms=7_200_000),
            "problem",
            "last seen 2 h ago, 0 records behind",
        ),
        (partition_status(since_last_write_ms=-3_600_000), "warning", "clock is 60 min ahead"),
        (partition_status(next=11), "warning", "the state is at 11"),
        (
            partition_status(end=1_010, stopped="1000 records in a row were rejected"),
            "problem",
            "stopped at 10, 1000 records behind: 1000 records in a row were rejected",
        ),
    ],
)
def test_a_partition_is_well_only_where_a_living_owner_reads_it(
    found: PartitionStatus, level: str, expected: str
) -> None:
    checked = check_partition(found)

    assert (checked.level, bool(checked.fix)) == (level, level != "ok")
    assert expected in checked.found
    assert "too few workers" not in checked.fix


@pytest.mark.parametrize(
    ("policy", "append_only", "used", "limit", "levels"),
    [
        ("noeviction", True, 1, 0, ["ok", "ok"]),
        ("allkeys-lru", True, 1, 0, ["ok", "problem"]),
        (None, None, 1, 0, ["ok", "warning"]),
        ("noeviction", False, 1, 0, ["ok", "ok", "warning"]),
        ("noeviction", True, 90, 100, ["ok", "ok", "warning"]),
    ],
)
def test_redis_must_never_evict(
    policy: str | None,
    append_only: bool | None,  # noqa: FBT001
    used: int,
    limit: int,
    levels: list[str],
) -> None:
    findings = check_redis("9.1.2", policy=policy, append_only=append_only, used=used, limit=limit)
    assert [finding.level for finding in findings] == levels


def rejected_event(**of: str) -> DeadLetter:
    return dead_letter(
        7,
        topic="log",
        reason="too_large",
        detail="value: 99 bytes",
        size_bytes=99,
        model=of.get("model", "fraud"),
        source=of.get("source", "/svc"),
    )


def test_dead_letters_name_model_producer_reason_and_an_example() -> None:
    assert check_dead_letters([]).level == "ok"
    groups = group_dead_letters([rejected_event(model="churn", source=""), *[rejected_event()] * 6])
    finding = check_dead_letters(groups)
    for text in (
        "7 records",
        "6 of fraud (too_large) from /svc",
        "1 of churn",
        "log:0:7",
        "value: 99 bytes",
    ):
        assert text in finding.found
    assert "dead-letters show" in (finding.fix or "")


def test_one_misplaced_record_is_a_problem() -> None:
    assert check_routing(0, []).level == "ok"
    assert check_routing(9, []).level == "ok"
    assert check_routing(9, ["1:17"]).level == "problem"


def test_every_finding_has_a_fix() -> None:
    findings = [
        check_topic(LOG, None, None),
        check_topic(LOG, 2, None),
        check_partition(partition_status(next=None, end=5, since_last_write_ms=None)),
        check_partition(partition_status(next=11)),
        *check_redis("9", policy="allkeys-lru", append_only=False, used=99, limit=100)[1:],
        check_dead_letters(group_dead_letters([rejected_event()])),
        check_routing(1, ["0:0"]),
    ]
    assert all(finding.fix for finding in findings)
    assert sum("fix: " in line for line in lines_of(findings)) == len(findings)


def test_the_worst_of_nothing_is_ok() -> None:
    assert worst([]) == "ok"
    assert worst([HealthCheckResult(check="a", level="problem", found="")]) == "problem"


@pytest.mark.parametrize(
    ("since_last_write_ms", "level", "expected"),
    [
        (2_000, "ok", "runs, 0 alerts behind"),
        (7_200_000, "problem", "last seen 2 h ago, 0 alerts behind"),
        (-3_600_000, "warning", "its clock is 60 min ahead"),
    ],
)
def test_a_trainer_that_is_silent_or_whose_clock_is_off_is_named(
    since_last_write_ms: int, level: str, expected: str
) -> None:
    found = check_trainer(TrainerStatus(since_last_write_ms=since_last_write_ms, lag=0, jobs=0))

    assert (found.level, bool(found.fix)) == (level, level != "ok")
    assert expected in found.found


def test_an_installation_without_a_trainer_has_no_problem() -> None:
    found = check_trainer(None)

    assert (found.level, found.found) == ("ok", "no trainer has run: no alert leads to a retrain")


def test_data_that_break_or_stay_away_are_findings_with_what_to_do() -> None:
    quality = alert(kind="quality", severity="high", explanation="temp: 4 % of values are -999")
    labels = alert(kind="labels", severity="medium", explanation="no label for 3 h")
    drift = alert(kind="data")
    known = alert(kind="quality", acknowledged_by="ann")

    found = check_episodes([labels, drift, known, quality])

    assert [(one.check, one.level) for one in found] == [
        ("quality of m", "problem"),
        ("labels of m", "warning"),
    ]
    assert [one.found for one in found] == [quality.explanation, labels.explanation]
    assert all(one.fix for one in found)
    assert f"`driftline alerts resolve {quality.episode_id[:12]}`" in found[0].fix


def test_rejected_records_are_shown_by_the_command_that_the_finding_names() -> None:
    (found,) = check_episodes([alert(kind="quality", cause="rejected", model="my model")])

    assert "`driftline dead-letters show --model 'my model'`" in found.fix
    assert "resolve" not in found.fix


def test_many_open_episodes_are_counted() -> None:
    found = check_episodes(alert(kind="quality", model=f"m{i}") for i in range(MAX_EPISODES + 3))

    assert len(found) == MAX_EPISODES + 1
    assert found[-1].found.startswith("3 more")


def test_a_worker_that_owns_nothing_is_named() -> None:
    busy = WorkerHeartbeat(member="a", host="h1", pid=1, time_ms=5, partitions=[0])
    idle = WorkerHeartbeat(member="b", host="h2", pid=2, time_ms=5, partitions=[])

    assert check_workers([busy], 1, 5).level == "ok"
    none = check_workers([], 1, 5)
    assert (none.level, bool(none.fix)) == ("warning", True)
    found = check_workers([busy, idle], 1, 5)
    assert (found.level, bool(found.fix)) == ("warning", True)
    assert found.found == "1 of 2 own none of the 1 partitions: h2 (pid 2)"


def test_a_worker_that_missed_two_heartbeats_is_reported_with_the_last_time() -> None:
    notes = [
        WorkerHeartbeat(member="a", host="h1", pid=1, time_ms=NOW_MS - 20_000, partitions=[0]),
        WorkerHeartbeat(member="b", host="h2", pid=2, time_ms=NOW_MS - 47_000, partitions=[1]),
    ]

    found = check_workers(notes, 2, NOW_MS)

    assert (found.level, bool(found.fix)) == ("warning", True)
    assert found.found == "1 of 2 may hang, last seen: h2 (pid 2) 47 s ago"
    assert check_workers(notes[:1], 2, NOW_MS).level == "ok"


def test_a_worker_that_went_is_not_among_the_living_and_is_forgotten_after_a_day() -> None:
    notes = [
        WorkerHeartbeat(
            member=f"m{age_ms}", host="h", pid=1, time_ms=NOW_MS - age_ms, partitions=[]
        )
        for age_ms in (
            -3_600_000,
            0,
            WORKER_TIMEOUT_MS,
            WORKER_TIMEOUT_MS + 1,
            HEARTBEAT_RETENTION_MS + 1,
        )
    ]

    assert [note.member for note in alive(notes, NOW_MS)] == [
        "m-3600000",
        "m0",
        f"m{WORKER_TIMEOUT_MS}",
    ]
    assert expired(notes, NOW_MS) == [f"m{HEARTBEAT_RETENTION_MS + 1}"]


def test_an_invalid_heartbeat_is_skipped() -> None:
    note = WorkerHeartbeat(member="a", host="h1", pid=1, time_ms=5, partitions=[0])

    assert decode_heartbeats({"a": msgspec.json.encode(note), "b": b"{", "c": b"[]"}) == [note]
