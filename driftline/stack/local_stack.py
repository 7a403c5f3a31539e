"""Kafka and Redis for the demo: what the environment names, else what can be started here."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

from driftline.stack.apache_kafka import MIN_JAVA, ApacheKafka, jars_present, java_version
from driftline.stack.embedded_broker import SHORT_TIMEOUTS, EmbeddedBroker
from driftline.stack.server_process import clean_up_on_sigterm
from driftline.stack.temporary_folder import temporary_folder
from driftline.stack.valkey import Valkey


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalStack:
    """Addresses of a Kafka and a Redis, and in words what they are."""

    bootstrap_servers: str
    redis_url: str
    broker: str
    store: str
    embedded: bool

    @classmethod
    @contextlib.contextmanager
    def start(cls) -> Iterator[LocalStack]:
        """Start what the environment does not name, and stop it at the end.

        Kafka: ``KAFKA_BOOTSTRAP_SERVERS``; else Apache Kafka where Java and its jars are; else an
        embedded broker.  Redis: ``REDIS_URL``; else Valkey from a wheel.

        Raises:
            ServerStartError: nothing of that is there, or it does not come up.
        """
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
                servers, broker, embedded = kafka.bootstrap_servers, kafka.description, not java
            url = os.environ.get("REDIS_URL")
            store = "Redis at REDIS_URL"
            if not url:
                valkey = Valkey(folder)
                stack.callback(valkey.stop)
                valkey.start()
                url, store = valkey.url, valkey.description
            yield cls(
                bootstrap_servers=servers,
                redis_url=url,
                broker=broker,
                store=store,
                embedded=embedded,
            )

    def describe(self) -> list[str]:
        """What runs where, a line each."""
        return [
            f"Kafka     {self.broker} on {self.bootstrap_servers}",
            f"Redis     {self.store} on {self.redis_url.rpartition('@')[2].removeprefix('redis://')}",
        ]

    def monitor_environment(self) -> dict[str, str]:
        """Environment a monitor on this stack needs besides the addresses."""
        return dict(SHORT_TIMEOUTS) if self.embedded else {}
