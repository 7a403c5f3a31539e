"""The event topic grows under traffic, and a model moves while it drifts."""

from __future__ import annotations

import json
import random
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from confluent_kafka.admin import AdminClient, NewPartitions  # type: ignore[attr-defined]
from typer.testing import CliRunner

from driftline.cli.app import app
from driftline.cli.connection import load_settings
from driftline.monitor_state.partition_state import read_monitors
from driftline.stack.server_process import free_port
from driftline.topics import topic_registry
from producer.events import CE_TYPE_OF, ModelUpdate, Topology
from producer.routing import partition_of
from producer.writer import EventWriter
from stream_monitor.contracts import DriftAlert
from stream_monitor.core.partition import PartitionMonitor
from stream_monitor.reference.fit import fit_profile
from tests.builders import inference_event
from tests.integration.monitor_harness import CORE, MonitorHarness, until
from tests.integration.read_topic import read_topic
from trainer.service.announce import announce

pytestmark = pytest.mark.kafka

MODEL = "fraud"
OWNED_S = 15.0
"""How soon a running worker has taken new partitions."""


@pytest.fixture
def small(kafka_broker: str, redis_url: str) -> Iterator[MonitorHarness]:
    harness = MonitorHarness(kafka_broker, redis_url, event_partitions=2)
    yield harness
    harness.close()


class Server:
    """A model server that writes under the key of its model, wherever that belongs now."""

    def __init__(self, harness: MonitorHarness, first: int = 0) -> None:
        self._writer = EventWriter(harness.broker, topic_prefix=harness.prefix)
        self._rng = random.Random(3)  # noqa: S311
        self.written = first

    def write(self, n: int, mean: float) -> None:
        for _ in range(n):
            self.written += 1
            event = inference_event(
                f"e{self.written}",
                {"amount": self._rng.gauss(mean, 10)},
                0.3,
                model=MODEL,
                time_ms=round(time.time() * 1000),
            )
            self._writer.write(event)
        self._writer.flush()


def monitors(harness: MonitorHarness) -> dict[int, PartitionMonitor]:
    settings = load_settings(bootstrap_servers=harness.broker, prefix=harness.prefix)
    harness.partitions = topic_registry.existing_topics(harness.client)[harness.topics.events]
    found = read_monitors(harness.redis, settings, list(range(harness.partitions)))
    return {monitor.partition: monitor for monitor in found}


def alerts(harness: MonitorHarness) -> list[DriftAlert]:
    records = read_topic(harness.broker, harness.topics.alerts)
    found = [msgspec.json.decode(record.value() or b"", type=DriftAlert) for record in records]
    return [alert for alert in found if alert.kind != "coverage"]


def readiness(port: int) -> dict[str, object]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            found: dict[str, object] = json.load(answer)
    except urllib.error.HTTPError as error:
        found = json.load(error)
    except OSError:
        return {}
    return found


def owns(port: int, n_partitions: int) -> bool:
    ready = readiness(port)
    return bool(ready.get("ready")) and ready.get("assigned") == list(range(n_partitions))


def knows(harness: MonitorHarness, n_partitions: int) -> bool:
    """Whether each partition has committed how many there are."""
    reported = [monitor.placement.latest for monitor in monitors(harness).values()]
    return len(reported) == n_partitions and all(
        topology is not None and topology.partitions == n_partitions for topology in reported
    )


def kinds_by_partition(harness: MonitorHarness) -> dict[int, list[str]]:
    kinds: dict[int, list[str]] = {}
    for record in read_topic(harness.broker, harness.topics.events):
        named: Any = dict(record.headers() or [])
        kinds.setdefault(record.partition() or 0, []).append(named["ce_type"].decode())
    return kinds


@pytest.mark.long
def test_drift_is_found_though_the_model_moves_meanwhile(
    small: MonitorHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness, port = small, free_port()
    for name, value in CORE.items():
        monkeypatch.setenv(name, value)
    old, new = partition_of(MODEL, 2), partition_of(MODEL, 4)
    assert new >= 2
    rng = random.Random(1)  # noqa: S311
    profile = fit_profile(
        MODEL,
        "1",
        {"amount": [rng.gauss(40, 10) for _ in range(2_000)]},
        predictions=[0.3] * 2_000,
        task="binary",
        origin="training",
    )
    harness.start(DRIFTLINE_WEB__ENABLED="true", DRIFTLINE_WEB__PORT=str(port))
    until(lambda: owns(port, 2), "both partitions are owned")
    announce(harness.broker, profile, topic_prefix=harness.prefix)
    before = Server(harness)
    before.write(300, mean=40)
    until(lambda: harness.next(old) >= 301, "the first events are in")
    until(lambda: knows(harness, 2), "the topology is on the topic")

    client: dict[str, Any] = harness.client
    admin = AdminClient(client)
    grown = admin.create_partitions([NewPartitions(harness.topics.events, 4)])
    grown[harness.topics.events].result(20)
    moved = Server(harness, first=before.written)

    def taken() -> bool:
        moved.write(1, mean=80)  # into the new partition, from its first moment on
        return owns(port, 4)

    until(taken, "the new partitions are owned", OWNED_S)

    def found() -> bool:
        moved.write(20, mean=80)
        return any(alert.phase == "started" for alert in alerts(harness))

    until(found, "the shift is found")
    first = next(alert for alert in alerts(harness) if alert.phase == "started")
    assert (first.series, first.partition, first.reference) == ("feature/amount", new, "training")
    until(lambda: knows(harness, 4), "all partitions know")
    state = monitors(harness)
    for monitor in state.values():
        topology = monitor.placement.latest
        assert topology is not None
        assert (topology.partitions, topology.before) == (4, (2, {}))
    assert state[new].models[MODEL].versions["1"].profile.origin == "training"
    harness.monitors[-1].send_signal(signal.SIGTERM)
    assert harness.monitors[-1].wait(60) == 0

    the_command_does_the_same(harness, admin)


def the_command_does_the_same(harness: MonitorHarness, admin: AdminClient) -> None:
    """Nothing runs: partitions are added by hand, the doctor sees it, `topics grow` mends it."""
    new, home = partition_of(MODEL, 4), partition_of(MODEL, 6)
    place = [
        "--prefix",
        harness.prefix,
        "--bootstrap-servers",
        harness.broker,
        "--redis-url",
        harness.redis_url,
    ]
    grown = admin.create_partitions([NewPartitions(harness.topics.events, 6)])
    grown[harness.topics.events].result(20)
    seen = CliRunner().invoke(app, ["doctor", *place])
    assert f"{MODEL}@1 is split: its events also belong to partition {home}, but" in seen.stdout
    assert seen.exit_code == 1
    fewer = CliRunner().invoke(app, ["topics", "grow", "--partitions", "2", *place])
    assert fewer.exit_code == 2
    assert "Kafka cannot remove partitions" in fewer.stderr
    would = CliRunner().invoke(app, ["topics", "grow", "--dry-run", *place])
    assert f"reference of {MODEL}@1 would be copied to partition {home}" in would.stdout
    assert home not in kinds_by_partition(harness)
    printed = CliRunner().invoke(app, ["topics", "grow", *place])
    assert printed.exit_code == 0, printed.output
    assert f"{MODEL}: partition {new} → {home}" in printed.stdout
    assert f"reference of {MODEL}@1 copied to partition {home}" in printed.stdout
    kinds = kinds_by_partition(harness)
    placed, reference = CE_TYPE_OF[Topology], CE_TYPE_OF[ModelUpdate]
    assert kinds[home] == [reference, placed]
    assert [kinds[p][-1] for p in range(6)] == [placed] * 6
    sharded = CliRunner().invoke(app, ["topics", "grow", "--shards", f"{MODEL}=2", *place])
    assert sharded.exit_code == 0, sharded.output
    assert "restart the trainer with --shards 2" in sharded.stderr
