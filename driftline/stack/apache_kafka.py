"""Start Apache Kafka as one KRaft node on loopback, with jars from Maven and the local Java."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from driftline.stack.server_process import ServerProcess, ServerStartError, free_port
from producer.kafka_client import is_reachable

VERSION: Final = "4.3.1"
MIN_JAVA: Final = 17
_POM: Final = Path(__file__).with_name("kafka-pom.xml")
_READY_S: Final = 120.0
_FETCH_S: Final = 600.0
PING_S: Final = 1.0

_UNICODE: Final = {"LC_ALL": "C.UTF-8"}
"""Java needs this locale to read folders with names outside ASCII."""

SINGLE_NODE: Final = {
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "auto.create.topics.enable": "false",
    # After a kill the broker cannot register again before its old session ends.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
}
"""Settings for a single node that is started often and may be killed at any moment."""


def java_version() -> int | None:
    """The major version of the ``java`` on the path; ``None`` without one."""
    java = shutil.which("java")
    if java is None:
        return None
    output = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)  # noqa: S603
    found = re.search(r'version "(?:1\.)?(\d+)', output.stderr + output.stdout)
    return int(found.group(1)) if found else None


def libs_folder() -> Path:
    """The folder of the jars: ``$DRIFTLINE_KAFKA_HOME/libs``, or one in the user's cache."""
    home = os.environ.get("DRIFTLINE_KAFKA_HOME")
    if home:
        return Path(home) / "libs"
    return _cache() / "driftline" / f"kafka-{VERSION}" / "libs"


def _cache() -> Path:
    """The user's cache folder; without a home folder, one among the temporary files."""
    given = os.environ.get("XDG_CACHE_HOME")
    if given:
        return Path(given)
    try:
        return Path.home() / ".cache"
    except RuntimeError:  # a uid without an entry in passwd, and no HOME: usual in containers
        return Path(tempfile.gettempdir()) / f"driftline-cache-{os.getuid()}"


def jars_present() -> bool:
    """Whether the jars exist."""
    return any(libs_folder().glob("kafka_2.13-*.jar"))


def fetch_jars() -> None:
    """Fetch the jars with Maven (about 55 MB), unless they exist.

    Raises:
        ServerStartError: Maven is not installed, or could not fetch the jars.
    """
    if jars_present():
        return
    maven = shutil.which("mvn")
    if maven is None:
        raise ServerStartError("Kafka's jars are missing, and Maven (mvn) is not installed")
    libs = libs_folder()
    fresh = libs.with_name(f"libs-{uuid.uuid4().hex}")
    goal = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
    done = subprocess.run(  # noqa: S603 - our own command line
        [
            maven,
            "-q",
            "-B",
            "-f",
            str(_POM),
            goal,
            f"-Dkafka.version={VERSION}",
            "-DincludeScope=runtime",
            f"-DoutputDirectory={fresh}",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=_FETCH_S,
    )
    if done.returncode:
        raise ServerStartError(f"Maven could not fetch Kafka's jars:\n{done.stdout[-1500:]}")
    if libs.exists():
        shutil.rmtree(fresh)  # another process was faster
    else:
        fresh.rename(libs)


class ApacheKafka:
    """A broker that is its own controller; its data survive `kill` and `restart`."""

    def __init__(
        self, folder: Path, properties: Mapping[str, str] | None = None, *, heap_mb: int = 512
    ) -> None:
        self._folder = folder / "kafka"
        self._folder.mkdir()
        self.port, controller = free_port(), free_port()
        self.bootstrap_servers = f"127.0.0.1:{self.port}"
        self.description = f"Apache Kafka {VERSION} (Java {java_version()})"
        settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self.port}",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": "data",  # relative, because a comma in a path would separate two folders
            **SINGLE_NODE,
            **(properties or {}),
        }
        self._properties = self._folder / "server.properties"
        self._properties.write_text("".join(f"{k}={v}\n" for k, v in settings.items()))
        java = ["java", f"-Xmx{heap_mb}m", "-XX:+UseSerialGC", "-cp", f"{libs_folder()}/*"]
        self._format = [*java, "kafka.tools.StorageTool", "format"]
        self.process = ServerProcess(
            [*java, "kafka.Kafka", self._properties.name],
            self._folder / "server.log",
            folder=self._folder,
            environment=_UNICODE,
        )

    def start(self) -> None:
        """Format the storage if it is new, start the broker, and wait until it answers."""
        if not (self._folder / "data" / "meta.properties").exists():
            cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
            # Pass it as one argument, because an id may begin with a dash.
            done = subprocess.run(  # noqa: S603 - our own command line
                [*self._format, f"--cluster-id={cluster}", "-c", self._properties.name],
                capture_output=True,
                text=True,
                check=False,
                cwd=self._folder,
                env=os.environ | _UNICODE,
            )
            if done.returncode:
                raise ServerStartError(
                    f"Kafka's storage could not be formatted:\n{done.stderr[-1500:]}"
                )
        self.process.start()
        self.process.wait_until(self.is_ready, _READY_S)

    def restart(self) -> None:
        """Start again with the same port and data, after `kill` or `stop`."""
        self.process.start()
        self.process.wait_until(self.is_ready, _READY_S)

    def is_ready(self) -> bool:
        """Whether the broker answers."""
        return is_reachable({"bootstrap.servers": self.bootstrap_servers}, PING_S)

    def kill(self) -> None:
        """Kill the broker."""
        self.process.kill()

    def stop(self) -> None:
        """Stop the broker."""
        self.process.stop()
