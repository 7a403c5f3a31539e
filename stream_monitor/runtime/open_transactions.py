"""Detects transactions that their producers never end, which block all later records.

A consumer of committed records reads up to the last stable offset, the first record of the oldest
open transaction.  The broker reports that offset as the end, so that no lag shows the problem.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import structlog
from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]

from producer.kafka_client import admin_client
from stream_monitor.metrics import Metrics

log = structlog.get_logger(__name__)

CHECK_INTERVAL_S: Final = 15.0
OPEN_TRANSACTION_S: Final = 60.0
"""A transaction lasts for seconds; one that is open for so long has been abandoned."""
_TIMEOUT_S: Final = 5.0


class PartitionEnds(NamedTuple):
    """The end offset of a partition for read-committed consumers, and for all others."""

    stable: int
    end: int

    @property
    def n_blocked(self) -> int:
        """The number of records from the oldest open transaction on, its own included."""
        return max(0, self.end - self.stable)


def partition_ends(
    client: Mapping[str, Any], topic: str, partitions: Iterable[int]
) -> dict[int, PartitionEnds]:
    """Return both end offsets of each partition.

    Raises:
        KafkaException: a broker does not answer within five seconds, or does not know the request.
    """
    admin = admin_client(client)
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
    asked = {TopicPartition(topic, p): latest for p in partitions}
    if not asked:
        return {}
    found: list[dict[int, int]] = []
    for isolation in (IsolationLevel.READ_COMMITTED, IsolationLevel.READ_UNCOMMITTED):
        answers = admin.list_offsets(asked, isolation_level=isolation, request_timeout=_TIMEOUT_S)
        found.append({p.partition: f.result(2 * _TIMEOUT_S).offset for p, f in answers.items()})
    stable, ends = found
    return {p: PartitionEnds(stable[p], end) for p, end in ends.items()}


def fix_of(topic: str, partition: int, stable: int) -> str:
    """Return the instructions to end an abandoned transaction."""
    return (
        "end the producer's transaction, or abort it: kafka-transactions.sh --bootstrap-server ... "
        f"abort --topic {topic} --partition {partition} --start-offset {stable}"
    )


class BlockedSince(NamedTuple):
    """A partition's last stable offset, and since when it has blocked records (monotonic)."""

    stable: int
    since_s: float


class OpenTransactionMonitor:
    """Checks the partitions of a worker for transactions that block records."""

    def __init__(self, client: Mapping[str, Any], topic: str, metrics: Metrics) -> None:
        self._client, self._topic, self._metrics = client, topic, metrics
        self._held: dict[int, BlockedSince] = {}
        self.reasons: dict[int, str] = {}
        """Partitions that are blocked for more than a minute, and the reason as a sentence."""

    async def check(self, partitions: Iterable[int]) -> None:
        """Read the ends of the partitions; without an answer the next check repeats it."""
        asked = list(partitions)
        try:
            ends = await asyncio.to_thread(partition_ends, self._client, self._topic, asked)
        except (KafkaException, TimeoutError):
            return
        self.observe(ends, time.monotonic())

    def observe(self, ends: Mapping[int, PartitionEnds], now_s: float) -> None:
        """Compare the ends at ``now_s`` (monotonic seconds) with those of the last check."""
        before, self._held, reasons = self._held, {}, {}
        for partition, found in ends.items():
            self._metrics.blocked.labels(self._topic, str(partition)).set(found.n_blocked)
            if not found.n_blocked:
                continue
            known = before.get(partition)
            stands = known is not None and known.stable == found.stable
            held = known if known is not None and stands else BlockedSince(found.stable, now_s)
            self._held[partition] = held
            if now_s - held.since_s >= OPEN_TRANSACTION_S:
                reasons[partition] = (
                    f"{found.n_blocked} records lie behind a transaction that is open since offset "
                    f"{found.stable}; nothing behind it is read"
                )
        for partition in reasons.keys() - self.reasons.keys():
            log.critical(
                "an open transaction blocks a partition",
                partition=partition,
                why=reasons[partition],
                fix=fix_of(self._topic, partition, ends[partition].stable),
            )
        for partition in self.reasons.keys() - reasons.keys():
            log.info("no open transaction blocks the partition", partition=partition)
        self.reasons = reasons
