"""Topics that were made anew under a trainer, its pages, and what others see of it."""

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

from driftline.topic_registry import create_topics, load_registry
from stream_monitor.presence import Seen, last_seen
from tests.unit.alert_factories import alert
from tests.unit.test_trainer_jobs import job
from trainer.jobs import Database, active_jobs, add_job, jobs_of
from trainer.jobs.ledger import positions, set_positions
from trainer.runtime.bench import Bench, bench_of
from trainer.runtime.trainer import Trainer
from trainer.runtime.web import PortInUse
from trainer.settings import Settings

pytestmark = pytest.mark.kafka


@pytest.fixture
def bench(kafka_broker: str, tmp_path: Path) -> Bench:
    prefix = f"t{uuid.uuid4().hex[:10]}"
    client = {"bootstrap.servers": kafka_broker}
    create_topics(client, load_registry(prefix))
    settings: dict[str, Any] = {
        "kafka": {"bootstrap_servers": kafka_broker},
        "topics": {"prefix": prefix},
        "trainer": {"home": tmp_path / "home", "factories": {"m": "f:f"}, "web": {"port": 0}},
    }
    return bench_of(Settings(**settings))


def make_anew(bench: Bench, topic: str) -> None:
    """Delete the topic and create it again, as somebody who empties a cluster does."""
    client = bench.kafka.client()
    admin = AdminClient(client)
    admin.delete_topics([topic])[topic].result()
    until(lambda: topic not in admin.list_topics().topics)
    create_topics(client, load_registry(bench.prefix))


def publish(bench: Bench, n: int) -> None:
    producer = Producer(bench.kafka.client())
    for i in range(n):
        found = alert(alert_id=f"a{i}", kind="quality", severity="low", feature=None)
        producer.produce(bench.topics.alerts, msgspec.json.encode(found), partition=0)
    assert producer.flush(20) == 0


def until(holds: Callable[[], bool], within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "it never held"
        time.sleep(0.05)


def turn_until(trainer: Trainer, holds: Callable[[], bool]) -> None:
    def turned() -> bool:
        trainer.turn()
        return holds()

    until(turned)


def n_received(trainer: Trainer) -> int:
    samples = [s for m in trainer.metrics.registry.collect() for s in m.samples]
    return int(sum(s.value for s in samples if s.name == "driftline_trainer_alerts_total"))


def received(bench: Bench, n: int) -> int:
    """How many alerts a trainer receives until it has ``n``, and in three turns more."""
    with Trainer(bench) as trainer:
        turn_until(trainer, lambda: n_received(trainer) >= n)
        for _ in range(3):
            trainer.turn()
        return n_received(trainer)


def test_a_position_beyond_the_end_goes_on_at_the_first_record(bench: Bench) -> None:
    """A restored home, or a topic of before topic ids were recorded."""
    publish(bench, 5)
    with closing(Database(bench.home)) as database, database.transaction() as rows:
        set_positions(rows, bench.topics.alerts, {0: 1_000})

    assert received(bench, 5) == 5
    with closing(Database(bench.home)) as database:
        assert positions(database.rows, bench.topics.alerts) == {0: 5}


def test_of_a_topic_made_anew_no_alert_is_passed_over(bench: Bench) -> None:
    """It has more records than were read of the old one: no position looks wrong."""
    publish(bench, 5)
    assert received(bench, 5) == 5
    make_anew(bench, bench.topics.alerts)
    publish(bench, 9)

    assert received(bench, 9) == 9


def test_a_job_on_an_event_topic_made_anew_ends_and_says_so(bench: Bench) -> None:
    with Trainer(bench) as trainer:
        trainer.turn()
    with closing(Database(bench.home)) as database, database.transaction() as rows:
        add_job(rows, job().to("asked", onset_offset=10, partition=0))
    make_anew(bench, bench.topics.events)

    with Trainer(bench) as trainer:
        trainer.turn()
    with closing(Database(bench.home)) as database:
        assert active_jobs(database.rows) == []
        (ended,) = jobs_of(database.rows, "m")
    assert (ended.outcome, ended.work.rule) == ("cancelled", "log_made_anew")
    assert "deleted and made anew" in ended.work.reason
    assert "driftline retrain" in ended.work.reason


def page(address: str, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_its_pages_and_its_presence_say_how_it_stands(bench: Bench) -> None:
    publish(bench, 3)
    client = bench.kafka.client()
    n_partitions = len(AdminClient(client).list_topics().topics[bench.topics.alerts].partitions)

    def seen() -> Seen | None:
        return last_seen(client, bench.prefix, bench.topics.alerts, n_partitions)

    assert seen() is None
    with Trainer(bench) as trainer:
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
    assert (found.presence.models, found.presence.web) == (["m"], address)


def test_a_port_that_was_set_and_is_in_use_is_an_error_with_its_fix(bench: Bench) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        web = bench.web.model_copy(update={"port": other.getsockname()[1]})
        with Trainer(bench._replace(web=web)) as trainer, pytest.raises(PortInUse, match="Fix: "):
            trainer.serve()
