"""Topics recreated under a trainer, its pages, and what others see of it."""

from __future__ import annotations

import json
import socket
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from driftline.topics.topic_registry import create_topics, load_registry
from stream_monitor.commit_metadata import LastHeartbeat
from stream_monitor.trainer_heartbeat import TrainerHeartbeat, last_heartbeat
from stream_monitor.web import PortInUse
from tests.builders import alert
from tests.unit.test_trainer_jobs import job
from trainer.jobs.database import Database
from trainer.jobs.job_store import active_jobs, add_job, jobs_of, positions, set_positions
from trainer.service.context import TrainerContext, context_from_settings
from trainer.service.trainer import Trainer
from trainer.settings import Settings

pytestmark = pytest.mark.kafka


@pytest.fixture
def context(kafka_broker: str, tmp_path: Path) -> TrainerContext:
    prefix = f"t{uuid.uuid4().hex[:10]}"
    client = {"bootstrap.servers": kafka_broker}
    create_topics(client, load_registry(prefix))
    settings: dict[str, Any] = {
        "kafka": {"bootstrap_servers": kafka_broker},
        "topics": {"prefix": prefix},
        "trainer": {
            "data_dir": tmp_path / "data_dir",
            "factories": {"m": "f:f"},
            "web": {"port": 0},
        },
    }
    return context_from_settings(Settings(**settings))


def recreate(context: TrainerContext, topic: str) -> None:
    """Delete the topic and create it again, as an operator who empties a cluster does."""
    client = context.kafka.client()
    admin = AdminClient(client)
    admin.delete_topics([topic])[topic].result()
    until(lambda: topic not in admin.list_topics().topics)
    create_topics(client, load_registry(context.prefix))


def publish(context: TrainerContext, n: int) -> None:
    producer = Producer(context.kafka.client())
    for i in range(n):
        found = alert(alert_id=f"a{i}", kind="quality", severity="low", feature=None)
        producer.produce(context.topics.alerts, msgspec.json.encode(found), partition=0)
    assert producer.flush(20) == 0


def until(holds: Callable[[], bool], within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "it never held"
        time.sleep(0.05)


def turn_until(trainer: Trainer, holds: Callable[[], bool]) -> None:
    def turned() -> bool:
        trainer.run_once()
        return holds()

    until(turned)


def n_received(trainer: Trainer) -> int:
    samples = [s for m in trainer.metrics.registry.collect() for s in m.samples]
    return int(sum(s.value for s in samples if s.name == "driftline_trainer_alerts_total"))


def received(context: TrainerContext, n: int) -> int:
    """How many alerts a trainer receives until it has ``n``, and in three turns more."""
    with Trainer(context) as trainer:
        turn_until(trainer, lambda: n_received(trainer) >= n)
        for _ in range(3):
            trainer.run_once()
        return n_received(trainer)


def test_a_position_beyond_the_end_continues_at_the_first_record(context: TrainerContext) -> None:
    """A restored home, or a topic of before topic ids were recorded."""
    publish(context, 5)
    with closing(Database(context.data_dir)) as database, database.transaction() as rows:
        set_positions(rows, context.topics.alerts, {0: 1_000})

    assert received(context, 5) == 5
    with closing(Database(context.data_dir)) as database:
        assert positions(database.rows, context.topics.alerts) == {0: 5}


def test_no_alert_of_a_recreated_topic_is_skipped(context: TrainerContext) -> None:
    """It has more records than were read of the old one: no position looks wrong."""
    publish(context, 5)
    assert received(context, 5) == 5
    recreate(context, context.topics.alerts)
    publish(context, 9)

    assert received(context, 9) == 9


def test_a_job_on_a_recreated_event_topic_fails_with_the_reason(context: TrainerContext) -> None:
    with Trainer(context) as trainer:
        trainer.run_once()
    with closing(Database(context.data_dir)) as database, database.transaction() as rows:
        add_job(rows, job().to("asked", onset_offset=10, partition=0))
    recreate(context, context.topics.events)

    with Trainer(context) as trainer:
        trainer.run_once()
    with closing(Database(context.data_dir)) as database:
        assert active_jobs(database.rows) == []
        (ended,) = jobs_of(database.rows, "m")
    assert (ended.outcome, ended.work.rule) == ("cancelled", "event_topic_recreated")
    assert "deleted and recreated" in ended.work.reason
    assert "driftline retrain" in ended.work.reason


def page(address: str, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_its_pages_and_its_heartbeat_show_its_state(context: TrainerContext) -> None:
    publish(context, 3)
    client = context.kafka.client()
    n_partitions = len(AdminClient(client).list_topics().topics[context.topics.alerts].partitions)

    def seen() -> LastHeartbeat[TrainerHeartbeat] | None:
        return last_heartbeat(client, context.prefix, context.topics.alerts, n_partitions)

    assert seen() is None
    with Trainer(context) as trainer:
        address = trainer.serve()
        assert page(address, "/readyz")[0] == 503
        turn_until(trainer, lambda: seen() is not None)
        assert page(address, "/healthz")[0] == 200
        assert page(address, "/nothing")[0] == 404
        code, state = page(address, "/readyz")
        metrics = page(address, "/metrics")[1]
    found = seen()

    assert (code, json.loads(state)["ready"]) == (200, True)
    assert 'driftline_trainer_alerts_total{action="ignore",model="m"' in metrics
    assert 'driftline_trainer_alerts_lag{partition="0"} 0.0' in metrics
    assert found is not None
    assert found.positions[0] == 3
    assert (found.heartbeat.models, found.heartbeat.web) == (["m"], address)


def test_a_port_that_was_set_and_is_in_use_is_an_error_with_its_fix(
    context: TrainerContext,
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        web = context.web.model_copy(update={"port": other.getsockname()[1]})
        with Trainer(context._replace(web=web)) as trainer, pytest.raises(PortInUse, match="Fix: "):
            trainer.serve()
