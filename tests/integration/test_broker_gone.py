"""A broker of a cluster is gone: the doctor names it, and nothing that asks for it dies."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from typer.testing import CliRunner

from driftline.cli.app import app
from driftline.stack.apache_kafka import ApacheKafka, fetch_jars
from driftline.stack.server_process import free_port
from driftline.stack.temporary_folder import temporary_folder
from driftline.topics.topic_registry import create_topics, load_registry, replicas_of, topic_config
from producer.routing import topic_names
from tests.integration.monitor_harness import until

pytestmark = pytest.mark.kafka

N_BROKERS: Final = 3
_LOOKS: Final = """
import sys
from trainer.service.monitor_watch import MonitorWatch
for _ in range(3):
    watch = MonitorWatch({"bootstrap.servers": sys.argv[1]}, "g.monitor", "g.events", "g.alerts")
    watch.check(0.0, 1)
"""


@pytest.fixture
def cluster(kafka_from_jars: None) -> Iterator[list[ApacheKafka]]:  # noqa: ARG001 - it must be there
    """Three brokers, each a controller as well."""
    fetch_jars()
    with temporary_folder("stack") as folder:
        ports = [free_port() for _ in range(N_BROKERS)]
        brokers = [_broker(folder, number, ports) for number in range(1, N_BROKERS + 1)]
        try:
            for broker in brokers:
                broker.process.start()
            for broker in brokers:
                broker.process.wait_until(lambda: n_brokers(brokers) == N_BROKERS, 120)
            yield brokers
        finally:
            for broker in brokers:
                broker.kill()


def _broker(folder: Path, number: int, controllers: list[int]) -> ApacheKafka:
    own = folder / str(number)
    own.mkdir()
    port = free_port()
    controller = f"CONTROLLER://127.0.0.1:{controllers[number - 1]}"
    kafka = ApacheKafka(
        own,
        {
            "node.id": str(number),
            "controller.quorum.voters": ",".join(
                f"{n}@127.0.0.1:{at}" for n, at in enumerate(controllers, 1)
            ),
            "listeners": f"PLAINTEXT://127.0.0.1:{port},{controller}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
            "default.replication.factor": "3",
        },
        heap_mb=256,
    )
    kafka.bootstrap_servers = f"127.0.0.1:{port}"
    subprocess.run(
        [*kafka._format, f"--cluster-id={_CLUSTER}", "-c", kafka._properties.name],
        cwd=own / "kafka",
        check=True,
        capture_output=True,
    )
    return kafka


_CLUSTER: Final = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def servers(brokers: list[ApacheKafka]) -> str:
    return ",".join(broker.bootstrap_servers for broker in brokers)


def n_brokers(brokers: list[ApacheKafka]) -> int:
    admin = AdminClient({"bootstrap.servers": servers(brokers), "log_level": 0})
    try:
        return len(admin.list_topics(timeout=5).brokers)
    except KafkaException:
        return 0


def doctor(brokers: list[ApacheKafka], prefix: str, redis_url: str) -> tuple[int, Any]:
    done = CliRunner().invoke(
        app,
        [
            "doctor",
            "--json",
            "--bootstrap-servers",
            servers(brokers),
            "--prefix",
            prefix,
            "--redis-url",
            redis_url,
        ],
    )
    assert done.stdout, (done.stderr, done.exception)
    return done.exit_code, json.loads(done.stdout)["findings"]


@pytest.mark.long
def test_an_unreachable_broker_is_logged_and_ends_no_process(
    cluster: list[ApacheKafka], redis_url: str
) -> None:
    prefix = f"b{uuid.uuid4().hex[:10]}"
    client = {"bootstrap.servers": servers(cluster)}
    create_topics(client, load_registry(prefix))
    log = topic_names(prefix).events
    copies, _ = replicas_of(client)
    assert copies[log].replicas == N_BROKERS  # the cluster's own default
    until(  # each broker follows the controller with a delay
        lambda: topic_config(client, [log])[log]["min.insync.replicas"] == "2",
        "one broker may be lost",
    )
    code, found = doctor(cluster, prefix, redis_url)
    assert [each["check"] for each in found if each["level"] == "problem"] == []

    cluster[2].kill()
    until(lambda: bool(replicas_of(client)[0][log].lacking), "the cluster sees that one is gone")
    code, found = doctor(cluster, prefix, redis_url)
    named = [each for each in found if each["check"] == f"topic {log}"]
    assert [each["level"] for each in named] == ["warning"]
    assert "have a replica that is not in sync, on broker 3" in named[0]["found"]
    assert named[0]["fix"].startswith("start broker 3")

    cluster[1].kill()  # two of three controllers are gone: the cluster sees nothing any more
    code, found = doctor(cluster, prefix, redis_url)
    problems = [each["found"] for each in found if each["level"] == "problem"]
    assert code in (1, 4)
    assert any(
        f"broker 2 at {cluster[1].bootstrap_servers} does not answer" in each for each in problems
    ), problems
    asked = subprocess.run(
        [sys.executable, "-c", _LOOKS, servers(cluster)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert asked.returncode == 0, asked.stderr
