"""Real servers for the tests that need them, and one Kafka a session.

Kafka: ``KAFKA_BOOTSTRAP_SERVERS`` if set; else Docker, if an engine answers and the image is there
or can be pulled within a minute; else Java and Maven's jars; else the embedded broker.  The report
says which one ran; ``DRIFTLINE_REQUIRE_APACHE_KAFKA=1`` makes anything but Apache Kafka an error.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, settings

from driftline.stack.embedded import EmbeddedBroker
from driftline.stack.kafka import (
    MIN_JAVA,
    VERSION,
    ApacheKafka,
    fetch_jars,
    have_jars,
    java_version,
)
from driftline.stack.process import data_folder
from driftline.stack.valkey import Valkey

IMAGE: Final = f"apache/kafka:{VERSION}"
PULL_S: Final = 60
BROKER: Final = pytest.StashKey[str]()

settings.register_profile(
    "ci", derandomize=True, deadline=None, suppress_health_check=list(HealthCheck)
)
settings.register_profile("dev", deadline=None, suppress_health_check=list(HealthCheck))
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


def _docker_has_kafka() -> bool:
    """Whether an engine answers that has the image, or gets it soon enough."""
    docker = shutil.which("docker")
    if docker is None:
        return False

    def succeeds(*arguments: str, timeout_s: float) -> bool:
        try:
            done = subprocess.run(
                [docker, *arguments], capture_output=True, timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0

    if not succeeds("info", timeout_s=10):
        return False
    return succeeds("image", "inspect", IMAGE, timeout_s=10) or succeeds(
        "pull", "-q", IMAGE, timeout_s=PULL_S
    )


def _in_docker() -> Iterator[tuple[str, str]]:
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415 - only with Docker

    from driftline.stack.kafka import answers  # noqa: PLC0415
    from driftline.stack.process import free_port  # noqa: PLC0415

    port = free_port()
    container = DockerContainer(IMAGE)
    container.with_bind_ports(9092, port)
    for name, value in {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_LISTENERS": "PLAINTEXT://:9092,CONTROLLER://:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.1:{port}",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS": "1000",
    }.items():
        container.with_env(name, value)
    with container:
        servers = f"127.0.0.1:{port}"
        for _ in range(60):
            if answers(servers):
                break
        yield servers, f"Apache Kafka {VERSION} (container)"


def _kafka(folder: Path) -> Iterator[tuple[str, str]]:
    """Address and description of a broker."""
    given = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if given:
        yield given, "Apache Kafka at KAFKA_BOOTSTRAP_SERVERS"
    elif _docker_has_kafka():
        yield from _in_docker()
    else:
        if (java_version() or 0) >= MIN_JAVA and shutil.which("mvn"):
            fetch_jars()
        java = (java_version() or 0) >= MIN_JAVA and have_jars()
        broker = ApacheKafka(folder) if java else EmbeddedBroker(folder)
        broker.start()
        yield broker.bootstrap_servers, broker.description
        broker.stop()


@pytest.fixture(scope="session")
def kafka_broker(pytestconfig: pytest.Config) -> Iterator[str]:
    """Bootstrap servers of a real Kafka."""
    with data_folder() as folder:
        for servers, description in _kafka(folder):
            pytestconfig.stash[BROKER] = description
            if os.environ.get("DRIFTLINE_REQUIRE_APACHE_KAFKA") == "1" and not (
                description.startswith("Apache Kafka")
            ):
                pytest.fail(f"these tests must run on Apache Kafka, not on {description}")
            yield servers


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A real Redis or Valkey."""
    given = os.environ.get("REDIS_URL")
    if given:
        yield given
        return
    with data_folder() as folder:
        valkey = Valkey(folder)
        valkey.start()
        yield valkey.url
        valkey.stop()


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say which broker the integration tests ran on."""
    terminalreporter.write_line(f"Kafka: {config.stash.get(BROKER, 'none was needed')}")
