"""One log with all that happens on it: servers, workers, traffic."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Final, Self

from confluent_kafka import Consumer, KafkaException, TopicPartition

from tests.chaos.oracle_comparison import OracleComparison, compare_with_oracle
from tests.chaos.servers import Servers
from tests.chaos.traffic import Traffic
from tests.chaos.worker_group import WorkerGroup
from tests.integration.monitor_harness import CORE, FAST, MonitorHarness

PER_S: Final = 320.0
PRELUDE: Final = 6_000
RECOVERY_TIMEOUT_S: Final = 180.0
SETTLING_S: Final = 1.0
"""A new owner sends the figures of all its windows again, so many with every batch: some more."""
PROGRAM: Final = ("-m", "driftline", "monitor")
QUIET: Final = {
    "DRIFTLINE_KAFKA__SESSION_TIMEOUT_S": "2",
    "DRIFTLINE_KAFKA__HEARTBEAT_S": "0.5",
    "DRIFTLINE_KAFKA__TICK_AFTER_S": "600",  # ticks while we compare would be differences
    "DRIFTLINE_LOG_LEVEL": "INFO",  # says who has taken a partition over
}


class NotRecoveredError(AssertionError):
    """The workers did not catch up with the log."""


class ChaosCluster:
    """A fresh log on servers that outlive it."""

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
        self._judged = OracleComparison()
        self._besides = OracleComparison()
        self.patience_s = RECOVERY_TIMEOUT_S
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
            {**CORE, **FAST, **QUIET, **(environment or {})},
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
        """Let time pass: a fault lasts, or comes at a moment nobody chose."""
        time.sleep(self.chance.uniform(shortest_s, longest_s))

    def random_worker(self) -> int:
        """A worker that has partitions, by chance; one that starts has nothing to lose."""
        serving: list[int] = []

        def found() -> bool:
            serving[:] = filter(self.worker_group.serving, range(len(self.worker_group)))
            return bool(serving)

        self.until(found, lambda: "nobody has taken a partition over")
        return self.chance.choice(serving)

    def count_also(self, findings: OracleComparison) -> None:
        """What a fault found that is not in the log of the monitors."""
        self._besides = self._besides.plus(findings)

    def ends(self) -> list[int]:
        """Where the log ends now, by partition; a broker that has just come back is asked again."""
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
        self.until(answered, lambda: "the broker does not say where the log ends")
        return ends

    def committed(self) -> list[int]:
        """How far the workers are, by partition."""
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
        """Wait until all below ``ends`` is committed; answers the seconds it took."""
        return self.until(
            lambda: all(at >= end for at, end in zip(self.committed(), ends, strict=True)),
            lambda: f"at {self.committed()} of {ends}",
        )

    def rest(self) -> None:
        """Stop writing, and let everything be read and sent out."""
        self.traffic.pause()
        self.caught_up(self.ends())
        self.until(lambda: self.harness.waiting() == 0, lambda: "the outbox is not out")

    def settle(self) -> OracleComparison:
        """Compare at rest, and go on writing.

        All of the log is compared; records and alerts are counted since the last time.
        """
        time.sleep(SETTLING_S)
        self.rest()
        findings = compare_with_oracle(self.harness, self.traffic.acknowledged)
        self.traffic.resume()
        before, self._judged = self._judged, findings
        count_also, self._besides = self._besides, OracleComparison()
        return count_also.plus(
            findings._replace(
                events=findings.events - before.events,
                alerts=findings.alerts - before.alerts,
                repeats=findings.repeats - before.repeats,
            )
        )

    def until(self, happened: Callable[[], bool], what: Callable[[], str]) -> float:
        """Wait for it; answers the seconds.  Raises if it does not come."""
        began = time.monotonic()
        while not happened():
            if time.monotonic() - began > self.patience_s:
                raise NotRecoveredError(f"not within {self.patience_s:g} s: {what()}")
            time.sleep(0.02)
        return time.monotonic() - began
