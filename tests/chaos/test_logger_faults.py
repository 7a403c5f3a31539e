"""Faults of Kafka do not affect a model server: every event is delivered or counted."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from driftline.stack.apache_kafka import MIN_JAVA, jars_present, java_version
from driftline.stack.server_process import free_port
from driftline.topics import topic_registry
from producer.codec import decode
from producer.counters import Counters
from producer.logger import InferenceLogger
from producer.routing import topic_names
from tests.chaos.servers import Servers
from tests.integration.read_topic import each_record

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.skipif(
        not jars_present() or (java_version() or 0) < MIN_JAVA,
        reason="a broker that can be killed and started again needs Java and Kafka's jars",
    ),
]

RECOVERY_TIMEOUT_S = 60.0
PROGRAM = Path(__file__).with_name("logging_program.py")
BURST = 50


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with Servers() as servers:
        yield servers


@pytest.fixture
def prefix(servers: Servers) -> str:
    """Topics of this test's own."""
    prefix = f"t{uuid.uuid4().hex[:8]}"
    events = topic_names(prefix).events
    wanted = [topic for topic in topic_registry.load_registry(prefix) if topic.name == events]
    topic_registry.create_topics({"bootstrap.servers": servers.kafka.bootstrap_servers}, wanted)
    return prefix


class Server:
    """A model server: logs in bursts, as its door is open, and looks at its counters."""

    def __init__(self, address: str, prefix: str, **settings: Any) -> None:
        patient = {"reconnect.backoff.max.ms": 200}
        self.max_messages: int = settings.get("max_messages", 50_000)
        self.log = InferenceLogger(
            address, model="m", version="1", topic_prefix=prefix, librdkafka=patient, **settings
        )
        self.ids: set[str] = set()

    def serve(self, n: int) -> None:
        """Log as many events; the queue is given time, as requests that come one by one would."""
        for _ in range(n // BURST):
            self.until(lambda _: len(self.log._state.queue) <= self.max_messages - BURST)
            for _ in range(BURST):
                self.ids.add(self.log.log(features={"a": 0.5}, prediction=0.5))
            self.counters()

    def counters(self) -> Counters:
        """What became of the events: always all of them, and few of them in memory."""
        counters = self.log.counters()
        known = counters.delivered + sum(counters.dropped.values()) + counters.spooled
        assert counters.accepted == len(self.ids) == known + counters.in_flight
        assert 0 <= counters.in_flight <= 2 * self.max_messages + 500  # the last: a batch for disk
        return counters

    def until(self, holds: Callable[[Counters], bool]) -> Counters:
        """Wait for it."""
        deadline = time.monotonic() + RECOVERY_TIMEOUT_S
        while not holds(counters := self.counters()):
            assert time.monotonic() < deadline, counters
            time.sleep(0.01)
        return counters

    def all_arrived(self) -> None:
        """Wait until Kafka acknowledged each event, from memory or from disk."""
        counters = self.until(lambda c: c.in_flight == c.spooled == 0)
        assert (counters.delivered, counters.dropped) == (len(self.ids), {})


def ids_on_topic(servers: Servers, prefix: str) -> list[str]:
    records = each_record(servers.kafka.bootstrap_servers, topic_names(prefix).events)
    return [decode(record.value() or b"").id for record in records]  # type: ignore[union-attr]


@pytest.fixture
def start(prefix: str) -> Iterator[Callable[..., Server]]:
    """Starts model servers, and ends them."""
    with ExitStack() as ends:

        def start(address: str, **settings: Any) -> Server:
            server = Server(address, prefix, **settings)
            ends.callback(server.log.close, 0)
            return server

        yield start


def test_a_healthy_kafka_gets_each_event_once(
    servers: Servers, prefix: str, start: Callable[..., Server], tmp_path: Path
) -> None:
    server = start(servers.kafka.bootstrap_servers, spool=tmp_path)
    server.serve(2_000)
    server.all_arrived()

    assert sorted(ids_on_topic(servers, prefix)) == sorted(server.ids)
    assert list(tmp_path.iterdir()) == []


def test_a_paused_kafka_costs_no_events(
    servers: Servers, prefix: str, start: Callable[..., Server], tmp_path: Path
) -> None:
    address = servers.kafka.bootstrap_servers
    patient, spooling = start(address), start(address, spool=tmp_path, message_timeout_ms=500)
    both = patient, spooling
    for server in both:
        server.serve(500)
        server.all_arrived()
    servers.kafka.process.signal(signal.SIGSTOP)
    try:
        for server in both:
            server.serve(1_000)
        spooling.until(lambda c: c.spooled == 1_000)
        assert patient.counters().in_flight == 1_000
    finally:
        servers.kafka.process.signal(signal.SIGCONT)
    for server in both:
        server.serve(500)
        server.all_arrived()

    assert set(ids_on_topic(servers, prefix)) == patient.ids | spooling.ids


def test_a_kafka_killed_and_started_again_gets_all_that_memory_or_disk_could_hold(
    servers: Servers, prefix: str, start: Callable[..., Server], tmp_path: Path
) -> None:
    address = servers.kafka.bootstrap_servers
    patient = start(address)
    spooling = start(address, spool=tmp_path, message_timeout_ms=1_000, max_messages=200)
    both = patient, spooling
    for server in both:
        server.serve(500)
    servers.kafka.kill()
    try:
        for server in both:
            server.serve(3_000)
        assert spooling.until(lambda c: c.spooled > 2_500).dropped == {}
    finally:
        servers.kafka.restart()
    for server in both:
        server.serve(500)
        server.all_arrived()

    assert set(ids_on_topic(servers, prefix)) == patient.ids | spooling.ids
    spooling.log.close()
    assert list(tmp_path.iterdir()) == []


def test_a_slow_kafka_delays_and_loses_nothing(
    servers: Servers, prefix: str, start: Callable[..., Server]
) -> None:
    servers.broker_line.delay_s = 0.3
    try:
        server = start(servers.line_brokers, max_messages=1_000)
        server.serve(3_000)
        server.all_arrived()
    finally:
        servers.broker_line.delay_s = 0.0

    assert sorted(ids_on_topic(servers, prefix)) == sorted(server.ids)


class LastWords(Counters, frozen=True, kw_only=True):
    """The last output line of a process of `logging_program.py`."""

    number: int


def run_program(address: str, prefix: str, *options: object) -> list[LastWords]:
    """Run it to its end; returns the output of each of its processes, the parent first."""
    command = [sys.executable, str(PROGRAM), "--servers", address, "--prefix", prefix]
    done = subprocess.run(
        [*command, *map(str, options)], capture_output=True, timeout=RECOVERY_TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"Traceback" not in done.stderr
    processes = [msgspec.convert(json.loads(line), LastWords) for line in done.stdout.splitlines()]
    return sorted(processes, key=lambda words: words.number)


def ids(n_processes: int, n_events: int) -> set[str]:
    return {f"{number}-{i}" for number in range(n_processes) for i in range(n_events)}


def test_every_event_of_a_server_that_preloads_and_forks_arrives_once(
    servers: Servers, prefix: str, tmp_path: Path
) -> None:
    address = servers.kafka.bootstrap_servers
    processes = run_program(address, prefix, "--events", 300, "--children", 4, "--spool", tmp_path)

    assert [words.number for words in processes] == [0, 1, 2, 3, 4]
    assert [(words.accepted, words.delivered) for words in processes] == [(300, 300)] * 5
    found = ids_on_topic(servers, prefix)
    assert len(found) == 1_500
    assert set(found) == ids(5, 300)


def test_a_server_that_ends_with_a_full_buffer_counts_what_it_loses() -> None:
    (words,) = run_program(
        f"127.0.0.1:{free_port()}",
        "nowhere",
        "--events",
        5_000,
        "--max-messages",
        1_000,
        "--flush-timeout-s",
        0.5,
    )

    assert (words.accepted, words.delivered, words.in_flight) == (5_000, 0, 0)
    assert 1_000 <= words.dropped["undelivered"] <= 2_000
    assert words.dropped == {
        "undelivered": words.dropped["undelivered"],
        "queue_full": 5_000 - words.dropped["undelivered"],
    }


def test_servers_that_fork_and_end_with_full_buffers_lose_nothing_to_the_next_with_their_spool(
    servers: Servers, prefix: str, start: Callable[..., Server], tmp_path: Path
) -> None:
    no_disk = f"127.0.0.1:{free_port()}"
    processes = run_program(
        no_disk,
        prefix,
        "--spool",
        tmp_path,
        "--children",
        2,
        "--events",
        3_000,
        "--max-messages",
        3_000,
        "--flush-timeout-s",
        0.5,
    )
    for words in processes:
        assert (words.accepted, words.spooled) == (3_000, 3_000)

    server = start(servers.kafka.bootstrap_servers, spool=tmp_path)
    assert server.until(lambda c: c.recovered == 9_000).unrecoverable == 0
    assert set(ids_on_topic(servers, prefix)) == ids(3, 3_000)
    server.log.close()
    assert list(tmp_path.iterdir()) == []
