"""Each role works with the permissions of SECURITY.md's table, and names one that is missing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from driftline.serving import ChampionModel
from producer.events import Event
from producer.logger import InferenceLogger
from tests.cases.command_runner import run_or_start
from tests.integration.monitor_harness import MODELS, MonitorHarness, log_of, until
from tests.integration.permitted_kafka import Permission, PermittedKafka, permitted_kafka
from tests.integration.trainer_harness import MODEL, N_AFTER, N_BEFORE, TrainerHarness

pytestmark = pytest.mark.kafka

SUFFIX: Final = {
    "events": "events.v1",
    "alerts": "alerts.v1",
    "dead-letters": "dead-letters.v1",
    "retrain": "retrain.v1",
    "models": "models.v1",
}
OPERATION: Final = {"R": "Read", "W": "Write", "D": "Describe"}
ROLES: Final = {
    "scorer": {"events": "WD"},
    "server": {"models": "RD"},
    "monitor": {"events": "RWD", "alerts": "WD", "dead-letters": "WD"},
    "trainer": {"events": "RWD", "alerts": "RWD", "retrain": "WD", "models": "RWD"},
    "reader": dict.fromkeys(SUFFIX, "RD"),
    "operator": {**dict.fromkeys(SUFFIX, "RD"), "events": "RWD", "models": "RWD"},
}
"""The table of SECURITY.md."""
GROUPS: Final = {
    "monitor": {"monitor": "Read", "trainer": "Describe"},
    "trainer": {"trainer": "Read", "monitor": "Describe"},
    "reader": {"trainer": "Describe", "notifier": "Describe"},
}


@pytest.fixture(scope="module")
def kafka(kafka_from_jars: None) -> Iterator[PermittedKafka]:  # noqa: ARG001 - it must be there
    with permitted_kafka(ROLES) as permitted:
        yield permitted


@pytest.fixture
def harness(kafka: PermittedKafka, redis_url: str) -> Iterator[MonitorHarness]:
    made = MonitorHarness(kafka.open_at, redis_url)
    yield made
    made.close()


def granted(kafka: PermittedKafka, role: str, prefix: str) -> None:
    """Grant the permissions of a role in `ROLES` on the topics of this prefix."""
    kafka.grant(
        role,
        [
            Permission(OPERATION[grant], f"{prefix}.{SUFFIX[topic]}")
            for topic, grants in ROLES[role].items()
            for grant in grants
        ]
        + [
            Permission(operation, f"{prefix}.{group}", group=True)
            for group, operation in GROUPS.get(role, {}).items()
        ],
    )


def environment(kafka: PermittedKafka, role: str, stage_prefix: str) -> dict[str, str]:
    return {
        "DRIFTLINE_KAFKA__BOOTSTRAP_SERVERS": kafka.address,
        "DRIFTLINE_KAFKA__LIBRDKAFKA": json.dumps(kafka.login(role)),
        "DRIFTLINE_TOPICS__PREFIX": stage_prefix,
    }


def test_a_monitor_a_logger_and_a_reader_need_no_more_than_the_table(
    kafka: PermittedKafka, harness: MonitorHarness
) -> None:
    for role in ("scorer", "monitor", "reader"):
        granted(kafka, role, harness.prefix)
    log: list[Event | bytes] = list(log_of(MODELS[0], 1, 300))
    monitor = harness.start(**environment(kafka, "monitor", harness.prefix))
    harness.produce(MODELS[0], log)
    with InferenceLogger(
        kafka.address,
        model="m",
        version="1",
        topic_prefix=harness.prefix,
        librdkafka=kafka.login("scorer"),
    ) as logger:
        for number in range(10):
            logger.log(features={"x": number}, prediction=0.5)
    assert logger.counters().delivered == 10
    until(lambda: harness.drained(len(log) + 10), "all is read and the outbox is out")
    reads = {
        **environment(kafka, "reader", harness.prefix),
        "DRIFTLINE_REDIS__URL": harness.redis_url,
    }
    for asked in ("status", "doctor", "alerts list", "audit m", "coverage", "dead-letters show"):
        output = run_or_start(reads, *asked.split())
        assert "permission" not in output.out + output.err, output.out + output.err
        assert output.code == 0, output.out + output.err
    monitor.terminate()
    assert monitor.wait(60) == 0


@pytest.mark.long
def test_a_trainer_retrains_and_a_server_swaps_with_the_permissions_of_the_table(
    kafka: PermittedKafka, tmp_path: Path
) -> None:
    harness = TrainerHarness(kafka.open_at, tmp_path / "data_dir")
    for role in ("server", "trainer"):
        granted(kafka, role, harness.prefix)
    try:
        with ChampionModel(
            MODEL,
            bootstrap_servers=kafka.address,
            registry=harness.data_dir / "registry",
            topic_prefix=harness.prefix,
            librdkafka=kafka.login("server"),
        ) as model:
            assert model.wait(timeout_s=60).version == "1"
            harness.publish(N_BEFORE, turned=False)
            harness.publish(N_AFTER, turned=True)
            harness.alert(1, partition=next(iter(harness.updates()))[0])
            harness.start(**environment(kafka, "trainer", harness.prefix))  # type: ignore[arg-type]
            until(lambda: model.current().version == "2", "the challenger serves")
    finally:
        harness.close()


@pytest.mark.parametrize(
    ("role", "operation", "topic", "arguments"),
    [
        ("monitor", "Read", "events", ("monitor",)),
        ("monitor", "Write", "events", ("monitor",)),
        ("monitor", "Write", "alerts", ("monitor",)),
        ("monitor", "Write", "dead-letters", ("monitor",)),
        ("reader", "Read", "events", ("audit", "m")),
        ("reader", "Describe", "events", ("status",)),
        ("reader", "Read", "alerts", ("alerts", "list")),
        ("reader", "Read", "events", ("doctor",)),
        ("operator", "Create", "events", ("topics", "create")),
        ("operator", "Alter", "events", ("topics", "grow", "--partitions", "9")),
    ],
)
def test_a_missing_permission_is_named(
    kafka: PermittedKafka,
    harness: MonitorHarness,
    role: str,
    operation: str,
    topic: str,
    arguments: tuple[str, ...],
) -> None:
    granted(kafka, role, harness.prefix)
    name = f"{harness.prefix}.{SUFFIX[topic]}"
    prefix = harness.prefix
    if operation == "Create":
        prefix = f"{harness.prefix}-new"
        name = f"{prefix}.{SUFFIX[topic]}"
    kafka.deny(role, [Permission(operation, name)])
    if operation == "Describe":  # who may read or write may describe
        kafka.deny(role, [Permission(other, name) for other in ("Read", "Write")])
    output = run_or_start(
        {**environment(kafka, role, prefix), "DRIFTLINE_REDIS__URL": harness.redis_url}, *arguments
    )

    words = output.out + output.err
    assert output.code == 4, words
    assert f"User:{role} has no permission {operation} on topic {name}" in words
    assert "SECURITY.md" in words
    assert "Traceback" not in words


def test_a_monitor_without_permission_for_its_group_names_it(
    kafka: PermittedKafka, harness: MonitorHarness
) -> None:
    granted(kafka, "monitor", harness.prefix)
    group = f"{harness.prefix}.monitor"
    kafka.deny("monitor", [Permission("Read", group, group=True)])
    output = run_or_start(
        {
            **environment(kafka, "monitor", harness.prefix),
            "DRIFTLINE_REDIS__URL": harness.redis_url,
        },
        "monitor",
    )
    assert output.code == 4, output.err
    assert f"User:monitor has no permission Read on group {group}" in output.err
    assert "Traceback" not in output.err


@pytest.mark.long
def test_a_reader_without_the_trainers_group_names_it(
    kafka: PermittedKafka, harness: MonitorHarness
) -> None:
    granted(kafka, "reader", harness.prefix)
    group = f"{harness.prefix}.trainer"
    kafka.deny("reader", [Permission("Describe", group, group=True)])
    done = run_or_start(
        {**environment(kafka, "reader", harness.prefix), "DRIFTLINE_REDIS__URL": harness.redis_url},
        "status",
    )
    assert done.code == 4, done.out + done.err
    assert f"User:reader has no permission Describe on group {group}" in done.err
    assert "Traceback" not in done.err


def test_events_that_may_not_be_written_are_counted_and_named(
    kafka: PermittedKafka, harness: MonitorHarness, caplog: pytest.LogCaptureFixture
) -> None:
    kafka.grant("scorer", [Permission("Describe", harness.topics.events)])
    with InferenceLogger(
        kafka.address,
        model="m",
        version="1",
        topic_prefix=harness.prefix,
        librdkafka=kafka.login("scorer"),
    ) as logger:
        logger.log(features={"x": 1}, prediction=0.5)
    assert logger.counters().dropped == {"topic_authorization_failed": 1}
    assert f"no permission Write on topic {harness.topics.events}" in caplog.text
