"""A monitor cluster under traffic: servers, workers, producers, and waits for recovery."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Final, Self

from confluent_kafka import Consumer, KafkaException, TopicPartition

from stream_monitor.state.partition_state import topology_field
from tests.chaos.oracle_comparison import OracleComparison, compare_with_oracle
from tests.chaos.servers import Servers
from tests.chaos.traffic import Traffic
from tests.chaos.worker_group import WorkerGroup
from tests.integration.monitor_harness import CORE, FAST, SHORT_SESSION, MonitorHarness

PER_S: Final = 320.0
PRELUDE: Final = 6_000
RECOVERY_TIMEOUT_S: Final = 180.0
SETTLING_S: Final = 1.0
"""A new owner resends the performance of its windows, some with each batch; wait for that."""
PROGRAM: Final = ("-m", "driftline", "monitor")
STATIONARY: Final = {
    **SHORT_SESSION,
    "DRIFTLINE_KAFKA__TICK_AFTER_S": "600",  # ticks while we compare would be differences
    "DRIFTLINE_LOG_LEVEL": "INFO",  # logs which worker acquires a partition
}


class NotRecoveredError(AssertionError):
    """The workers did not catch up with the traffic."""


class ChaosCluster:
    """A new event topic with traffic and three monitors, on servers that outlive it."""

    def __init__(
        self,
        servers: Servers,
        seed: int,
        *,
        per_s: float = PER_S,
        environment: Mapping[str, str] | None = None,
        program: Sequence[str] = PROGRAM,
    ) -> None:
        self.servers, self.seed = servers, seed
        self._compared = OracleComparison()
        self._other_findings = OracleComparison()
        self.timeout_s = RECOVERY_TIMEOUT_S
        self.chance = random.Random(seed)  # noqa: S311 - a repeatable schedule
        self.harness = MonitorHarness(servers.kafka.bootstrap_servers, servers.valkey.url)
        self.traffic = Traffic(
            self.harness.client,
            self.harness.topics.events,
            self.harness.partitions,
            per_s=per_s,
            seed=seed,
        )
        place = ["--bootstrap-servers", servers.line_brokers, "--redis-url", servers.line_url]
        self.worker_group = WorkerGroup(
            [*program, *place, "--prefix", self.harness.prefix],
            {**CORE, **FAST, **STATIONARY, **(environment or {})},
            servers.folder,
        )

    def __enter__(self) -> Self:
        self.traffic.prelude(PRELUDE)
        self.traffic.resume()
        self.caught_up(self.ends())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.worker_group.close()
        self.traffic.close()
        self.harness.close()

    def pause(self, shortest_s: float, longest_s: float) -> None:
        """Wait a random time, so that a fault lasts or begins at a random moment."""
        time.sleep(self.chance.uniform(shortest_s, longest_s))

    def random_worker(self) -> int:
        """A random worker that owns partitions."""
        serving: list[int] = []

        def found() -> bool:
            serving[:] = filter(self.worker_group.serving, range(len(self.worker_group)))
            return bool(serving)

        self.until(found, lambda: "no worker owns a partition")
        return self.chance.choice(serving)

    def count_also(self, findings: OracleComparison) -> None:
        """Add findings of a fault that used another log than the monitors'."""
        self._other_findings = self._other_findings.plus(findings)

    def ends(self) -> list[int]:
        """End offsets by partition; retries while a broker that restarted has no leaders."""
        ends: list[int] = []

        def answered() -> bool:
            # A client that asked while the broker had no leaders may never learn of them.
            consumer = Consumer({**self.harness.client, "group.id": "ends", "log_level": 0})
            with contextlib.suppress(KafkaException):
                ends[:] = [consumer.get_watermark_offsets(t, timeout=5)[1] for t in targets]
            consumer.close()
            return bool(ends)

        targets = [
            TopicPartition(self.harness.topics.events, p) for p in range(self.harness.partitions)
        ]
        self.until(answered, lambda: "the broker does not return end offsets")
        return ends

    def committed(self) -> list[int]:
        """Committed offsets by partition."""
        stored = [
            self.servers.redis.hget(self.harness.key(p), "_next")
            for p in range(self.harness.partitions)
        ]
        return [int(value or 0) for value in stored]

    def recovered(self) -> float:
        """Wait until a record written from now on is committed on every partition; the seconds."""
        began = time.monotonic()
        self.caught_up([end + 1 for end in self.ends()])
        return time.monotonic() - began

    def caught_up(self, ends: list[int]) -> float:
        """Wait until all partitions are committed up to ``ends``; returns the seconds."""
        return self.until(
            lambda: all(at >= end for at, end in zip(self.committed(), ends, strict=True)),
            lambda: f"at {self.committed()} of {ends}",
        )

    def rest(self) -> None:
        """Stop traffic, and wait until all records are processed and the outbox is empty.

        Soon after their start the workers append the topology to each partition.  A short fault is
        over before that, and the record would arrive during a comparison.
        """
        self.traffic.pause()
        self.until(self._has_topology, lambda: "a partition has no topology")
        self.caught_up(self.ends())
        self.until(lambda: self.harness.waiting() == 0, lambda: "the outbox is not out")

    def _has_topology(self) -> bool:
        redis, harness = self.servers.redis, self.harness
        keys = map(harness.key, range(harness.partitions))
        return all(redis.hexists(key, topology_field()) for key in keys)

    def settle(self) -> OracleComparison:
        """Stop traffic, compare with the oracle, and resume.

        It compares the whole log and counts records and alerts since the last comparison.
        """
        time.sleep(SETTLING_S)
        self.rest()
        findings = compare_with_oracle(self.harness, self.traffic.acknowledged)
        self.traffic.resume()
        before, self._compared = self._compared, findings
        count_also, self._other_findings = self._other_findings, OracleComparison()
        return count_also.plus(
            findings._replace(
                events=findings.events - before.events,
                alerts=findings.alerts - before.alerts,
                repeats=findings.repeats - before.repeats,
            )
        )

    def until(self, happened: Callable[[], bool], what: Callable[[], str]) -> float:
        """Wait for a condition; returns the seconds.

        Raises:
            NotRecoveredError: it did not hold within `timeout_s`.
        """
        began = time.monotonic()
        while not happened():
            if time.monotonic() - began > self.timeout_s:
                raise NotRecoveredError(f"not within {self.timeout_s:g} s: {what()}")
            time.sleep(0.02)
        return time.monotonic() - began
