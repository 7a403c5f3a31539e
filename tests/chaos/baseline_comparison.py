"""Other programs under the same kills: what each loses and counts twice, and which errors it hides.

Three workers of each, one killed by `kill -9` whenever they have made progress; a supervisor
restarts it.  No other fault occurs.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from tests.chaos.baseline_scoring import (
    BaselineScore,
    alerts_of,
    counts_of,
    events_of,
    lives,
    score,
)
from tests.chaos.chaos_harness import PER_S, ChaosCluster
from tests.chaos.servers import Servers
from tests.chaos.worker_group import WorkerGroup
from tests.integration.read_topic import read_topic

PARTITIONS: Final = 4
BASELINES: Final[Mapping[str, list[str]]] = {
    "Faust, an event at a time": ["tests.chaos.baseline_faust", "acks"],
    "Faust, `take(100)`": ["tests.chaos.baseline_faust", "take"],
    "a consumer that commits after processing": ["tests.chaos.baseline_consumer"],
}
OURS: Final = "driftline"
RECOVERY_TIMEOUT_S: Final = 180.0
SETTLE_S: Final = 20.0
"""Nothing more comes of it, when nothing came for so long."""
LONGEST_PAUSE_S: Final = 2.0


class Log:
    """Events written at a steady pace to a topic of its own, and remembered."""

    def __init__(self, servers: Servers, seed: int) -> None:
        self.prefix = f"baseline{uuid.uuid4().hex[:8]}"
        self._servers = servers
        self._client: dict[str, str | int | float | bool] = {
            "bootstrap.servers": servers.kafka.bootstrap_servers
        }
        topics = [
            NewTopic(events_of(self.prefix), PARTITIONS, 1),
            NewTopic(alerts_of(self.prefix), 1, 1),
        ]
        admin = AdminClient(self._client)
        for made in admin.create_topics(topics).values():
            made.result(20)
        self.written: list[dict[str, Any]] = []
        self._events = lives(PARTITIONS, seed)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._write, name="baseline traffic", daemon=True)
        self._thread.start()

    def counts(self) -> dict[str, int]:
        """How often each event was processed."""
        found = self._servers.redis.hgetall(counts_of(self.prefix))
        return {name.decode(): int(count) for name, count in found.items()}

    def n_counted(self) -> int:
        """How many events were processed at least once."""
        return int(self._servers.redis.hlen(counts_of(self.prefix)))

    def alerts(self) -> list[dict[str, str]]:
        """The records on the output topic."""
        broker = self._servers.kafka.bootstrap_servers
        messages = read_topic(broker, alerts_of(self.prefix))
        return [json.loads(message.value() or b"") for message in messages]

    def end(self) -> None:
        """Write no more."""
        self._over.set()
        self._thread.join(30)

    def _write(self) -> None:
        producer = Producer({**self._client, "enable.idempotence": True, "linger.ms": 5})
        while not self._over.wait(PARTITIONS / PER_S):
            for partition in range(PARTITIONS):
                event = next(self._events)
                producer.produce(
                    events_of(self.prefix), json.dumps(event).encode(), partition=partition
                )
                self.written.append(event)
            producer.poll(0)
        assert producer.flush(20) == 0


def play(servers: Servers, seed: int, n_kills: int, report: Callable[[str], None]) -> int:
    """Compare, and print a table; an error if driftline is not all zeros."""
    compared: dict[str, BaselineScore] = {}
    for name in BASELINES:
        report(name)
        compared[name] = baseline(servers, seed, n_kills, name)
    report(OURS)
    compared[OURS] = own = ours(servers, seed, n_kills)
    sys.stdout.write(table(compared, seed))
    return 1 if own.events_lost or own.double_counted or own.alerts_lost else 0


def baseline(servers: Servers, seed: int, n_kills: int, name: str) -> BaselineScore:
    """One of the other programs."""
    log = Log(servers, seed)
    module, *how = BASELINES[name]
    place = [servers.kafka.bootstrap_servers, servers.valkey.url, log.prefix]
    worker_group = WorkerGroup(["-m", module, *place, *how], {}, servers.folder)
    try:
        kill(worker_group, n_kills, log.n_counted, seed)
        log.end()
        settled(log.n_counted, lambda: len(log.written))
    finally:
        log.end()
        worker_group.close()
    return score(n_kills, log.written, log.counts(), log.alerts())


def ours(servers: Servers, seed: int, n_kills: int) -> BaselineScore:
    """The monitor, on the events of the campaigns."""
    with ChaosCluster(servers, seed) as cluster:
        kill(cluster.worker_group, n_kills, lambda: sum(cluster.committed()), seed)
        found = cluster.settle()
    return BaselineScore(
        n_kills,
        found.events,
        found.events_lost,
        found.duplicate_effects,
        found.alerts,
        found.alerts_lost + found.phantom_alerts,
    )


def kill(worker_group: WorkerGroup, n_kills: int, progress: Callable[[], int], seed: int) -> None:
    """Kill a worker, wait until the others or it have got on, and again."""
    chance = random.Random(seed)  # noqa: S311
    for _ in range(n_kills):
        before, began_s = progress(), time.monotonic()
        while progress() <= before:
            if time.monotonic() - began_s > RECOVERY_TIMEOUT_S:
                raise AssertionError(f"no event was processed for {RECOVERY_TIMEOUT_S:g} s")
            time.sleep(0.05)
        time.sleep(chance.uniform(0.0, LONGEST_PAUSE_S))
        worker_group.kill(chance.randrange(len(worker_group)))


def settled(progress: Callable[[], int], whole: Callable[[], int]) -> None:
    """Wait until all is processed, or nothing more is."""
    seen, since_s = progress(), time.monotonic()
    while seen < whole() and time.monotonic() - since_s < SETTLE_S:
        time.sleep(0.5)
        now = progress()
        if now != seen:
            seen, since_s = now, time.monotonic()


def table(compared: Mapping[str, BaselineScore], seed: int) -> str:
    """A Markdown table, by 100 kills, and a line for machines."""
    lines = [
        f"Seed {seed}.",
        "",
        "| program | kills | events | lost | counted twice | alerts due | lost |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, one in compared.items():
        cells = [one.events_lost, one.double_counted, one.alerts, one.alerts_lost]
        per_100 = [f"{100 * cell / one.kills:g}" for cell in cells]
        lines.append(f"| {name} | {one.kills} | {one.events} | {' | '.join(per_100)} |")
    reported = {name: one._asdict() for name, one in compared.items()}
    return "\n".join(
        [*lines, "", "All but kills and events: per 100 kills.", json.dumps(reported), ""]
    )
