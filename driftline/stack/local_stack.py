"""Kafka and Redis for the demo: those of the environment, else local ones."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from driftline.stack.apache_kafka import MIN_JAVA, ApacheKafka, jars_present, java_version
from driftline.stack.embedded_broker import SHORT_TIMEOUTS, EmbeddedBroker
from driftline.stack.server_process import ServerProcess, clean_up_on_sigterm
from driftline.stack.temporary_folder import temporary_folder
from driftline.stack.valkey import Valkey


class OwnServer(NamedTuple):
    """A server that was started here; ``restart`` is ``None`` if that would lose its data."""

    name: str
    process: ServerProcess
    restart: Callable[[], None] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalStack:
    """The addresses of Kafka and Redis, their descriptions, and those that were started here."""

    bootstrap_servers: str
    redis_url: str
    broker: str
    store: str
    embedded: bool
    own: tuple[OwnServer, ...] = ()

    @classmethod
    @contextlib.contextmanager
    def start(cls) -> Iterator[LocalStack]:
        """Start the servers that the environment does not name, and stop them at the end.

        Kafka: ``KAFKA_BOOTSTRAP_SERVERS``; else Apache Kafka if Java and its jars are installed;
        else an embedded broker.  Redis: ``REDIS_URL``; else Valkey from a wheel.

        Raises:
            ServerStartError: no server is installed, or it does not start.
        """
        own: list[OwnServer] = []
        with contextlib.ExitStack() as stack:
            stack.enter_context(clean_up_on_sigterm())
            folder = stack.enter_context(temporary_folder("stack"))
            servers = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
            broker, embedded = "Kafka at KAFKA_BOOTSTRAP_SERVERS", False
            if not servers:
                java = (java_version() or 0) >= MIN_JAVA and jars_present()
                kafka = ApacheKafka(folder) if java else EmbeddedBroker(folder)
                stack.callback(kafka.stop)
                kafka.start()
                own.append(OwnServer("Kafka", kafka.process, kafka.start if java else None))
                servers, broker, embedded = kafka.bootstrap_servers, kafka.description, not java
            url = os.environ.get("REDIS_URL")
            store = "Redis at REDIS_URL"
            if not url:
                valkey = Valkey(folder, append_only=True)
                stack.callback(valkey.stop)
                valkey.start()
                own.append(OwnServer("Redis", valkey.process, valkey.start))
                url, store = valkey.url, valkey.description
            yield cls(
                bootstrap_servers=servers,
                redis_url=url,
                broker=broker,
                store=store,
                embedded=embedded,
                own=tuple(own),
            )

    def describe(self) -> list[str]:
        """A line for each server with its address."""
        return [
            f"Kafka     {self.broker} on {self.bootstrap_servers}",
            f"Redis     {self.store} on {self.redis_url.rpartition('@')[2].removeprefix('redis://')}",
        ]

    def monitor_environment(self) -> dict[str, str]:
        """Environment variables that a monitor on these servers needs."""
        return dict(SHORT_TIMEOUTS) if self.embedded else {}
