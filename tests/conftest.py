"""Real servers for the tests that need them, and one Kafka a session.

Kafka: ``KAFKA_BOOTSTRAP_SERVERS`` if set; else Docker, if an engine answers and the image is there
or can be pulled within a minute; else Java and Maven's jars; else the embedded broker.  The report
names it; ``DRIFTLINE_REQUIRE_APACHE_KAFKA=1`` makes anything but Apache Kafka an error.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from driftline.stack.apache_kafka import (
    MIN_JAVA,
    SINGLE_NODE,
    VERSION,
    ApacheKafka,
    fetch_jars,
    jars_present,
    java_version,
)
from driftline.stack.embedded_broker import EmbeddedBroker
from driftline.stack.server_process import free_port
from driftline.stack.temporary_folder import temporary_folder
from driftline.stack.valkey import Valkey
from producer.kafka_client import is_reachable
from tests import hypothesis_profiles  # noqa: F401 - loads the profile
from tests.file_selection import can_hold_selected

if TYPE_CHECKING:
    from tests.integration.monitor_harness import MonitorHarness
    from tests.mlflow_server import MlflowServer

IMAGE: Final = f"apache/kafka:{VERSION}"
PULL_S: Final = 60
READY_S: Final = 120
APACHE_ONLY: Final = os.environ.get("DRIFTLINE_REQUIRE_APACHE_KAFKA") == "1"
BROKER: Final = pytest.StashKey[str]()

QUICK_JAVA: Final = {"JDK_JAVA_OPTIONS": "-XX:TieredStopAtLevel=1"}
"""No test lives so long that the optimizing compiler pays: a start takes two thirds of the time."""
for _name, _value in QUICK_JAVA.items():
    os.environ.setdefault(_name, _value)


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


@contextlib.contextmanager
def _in_docker() -> Iterator[str]:
    """Bootstrap servers of a container, published on loopback only."""
    # The reaper is one more image to pull, perhaps from nowhere; the ``with`` below needs none.
    os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415 - only with Docker

    port = free_port()
    servers = f"127.0.0.1:{port}"
    container = DockerContainer(IMAGE)
    container.ports["9092/tcp"] = ("127.0.0.1", port)  # type: ignore[assignment]  # as docker-py takes it
    for name, value in {
        **SINGLE_NODE,
        "node.id": "1",
        "process.roles": "broker,controller",
        "controller.quorum.voters": "1@localhost:9093",
        "controller.listener.names": "CONTROLLER",
        "listeners": "PLAINTEXT://:9092,CONTROLLER://:9093",
        "advertised.listeners": f"PLAINTEXT://{servers}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    }.items():
        container.with_env("KAFKA_" + name.upper().replace(".", "_"), value)
    for name, value in QUICK_JAVA.items():
        container.with_env(name, value)
    with container:
        deadline = time.monotonic() + READY_S
        while not is_reachable({"bootstrap.servers": servers}, 1.0):
            if time.monotonic() > deadline:
                pytest.fail(f"{IMAGE} did not answer within {READY_S} s")
        yield servers


def _jars_and_java() -> bool:
    """Whether a broker can be started from jars; fetches them where they can be fetched."""
    java = (java_version() or 0) >= MIN_JAVA
    if java and shutil.which("mvn"):
        fetch_jars()
    return java and jars_present()


@contextlib.contextmanager
def _kafka() -> Iterator[tuple[str, str]]:
    """Address and description of a broker."""
    given = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if given:
        yield given, "Apache Kafka, taken on trust from KAFKA_BOOTSTRAP_SERVERS"
        return
    if _docker_has_kafka():
        with _in_docker() as servers:
            yield servers, f"Apache Kafka {VERSION} (container)"
        return
    with temporary_folder("stack") as folder:
        broker = ApacheKafka(folder) if _jars_and_java() else EmbeddedBroker(folder)
        try:
            broker.start()
            yield broker.bootstrap_servers, broker.description
        finally:
            broker.stop()


@pytest.fixture(scope="session")
def kafka_broker(pytestconfig: pytest.Config) -> Iterator[str]:
    """Bootstrap servers of a real Kafka."""
    with _kafka() as (servers, description):
        pytestconfig.stash[BROKER] = description
        if APACHE_ONLY and not description.startswith("Apache Kafka"):
            pytest.fail(f"these tests must run on Apache Kafka, not on {description}")
        yield servers


@pytest.fixture(scope="session")
def kafka_from_jars() -> None:
    """For a broker of a test's own, to be killed and started again: Java and Kafka's jars."""
    if not _jars_and_java():
        (pytest.fail if APACHE_ONLY else pytest.skip)("needs Java and Kafka's jars")


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A real Redis or Valkey."""
    given = os.environ.get("REDIS_URL")
    if given:
        yield given
        return
    with temporary_folder("stack") as folder:
        valkey = Valkey(folder)
        try:
            valkey.start()
            yield valkey.url
        finally:
            valkey.stop()


@pytest.fixture(scope="session")
def mlflow() -> Iterator[MlflowServer]:
    """A real MLflow server on SQLite."""
    from tests.mlflow_server import mlflow_server  # noqa: PLC0415

    with mlflow_server() as server:
        yield server


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Skip the import of a test file of which the marker expression selects no test."""
    if not collection_path.match("test_*.py"):
        return None
    expression: str = config.getoption("markexpr")
    return None if can_hold_selected(collection_path.read_text("utf-8"), expression) else True


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A run that must be on Apache Kafka and never asked for it has tested too little."""
    config = session.config
    if hasattr(config, "workeroutput"):  # of xdist: the one who started it draws the conclusion
        config.workeroutput["kafka"] = config.stash.get(BROKER, None)
    elif APACHE_ONLY and session.exitstatus == 0 and BROKER not in config.stash:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Collect the broker that an xdist process used."""
    description = getattr(node, "workeroutput", {}).get("kafka")
    if description is not None:
        node.config.stash[BROKER] = description


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Report which broker the integration tests ran on."""
    none = "none was needed" + ", yet DRIFTLINE_REQUIRE_APACHE_KAFKA is set" * APACHE_ONLY
    terminalreporter.write_line(f"Kafka: {config.stash.get(BROKER, none)}")


@pytest.fixture
def harness(kafka_broker: str, redis_url: str) -> Iterator[MonitorHarness]:
    """A log of its own on the session's servers, and the monitors on it."""
    from tests.integration.monitor_harness import MonitorHarness  # noqa: PLC0415

    harness = MonitorHarness(kafka_broker, redis_url)
    yield harness
    harness.close()
