"""Open transactions: one that its producer never ends hides all later records from readers.

Who reads committed records gets no further than the first record of the oldest open transaction,
the last stable offset, and is told that the log ends there: no lag shows it.
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
"""Transactions last for seconds; one that is open for so long was left."""
_TIMEOUT_S: Final = 5.0


class PartitionEnds(NamedTuple):
    """Where a partition ends: for readers of committed records, and for all others."""

    stable: int
    end: int

    @property
    def n_blocked(self) -> int:
        """Records that lie behind the oldest open transaction, its own among them."""
        return max(0, self.end - self.stable)


def partition_ends(
    client: Mapping[str, Any], topic: str, partitions: Iterable[int]
) -> dict[int, PartitionEnds]:
    """Both ends of each partition.

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
    """What a person does about a transaction that nobody ends."""
    return (
        "end the producer's transaction, or abort it: kafka-transactions.sh --bootstrap-server ... "
        f"abort --topic {topic} --partition {partition} --start-offset {stable}"
    )


class BlockedSince(NamedTuple):
    """A partition's stable end, and since when it has stood still with records behind it."""

    stable: int
    since_s: float


class OpenTransactionMonitor:
    """Watches the partitions a worker owns for transactions that nobody ends."""

    def __init__(self, client: Mapping[str, Any], topic: str, metrics: Metrics) -> None:
        self._client, self._topic, self._metrics = client, topic, metrics
        self._held: dict[int, BlockedSince] = {}
        self.reasons: dict[int, str] = {}
        """Partitions that are held for more than a minute, and how a person would say it."""

    async def check(self, partitions: Iterable[int]) -> None:
        """Ask the broker; what cannot be asked now is asked next time."""
        asked = list(partitions)
        try:
            ends = await asyncio.to_thread(partition_ends, self._client, self._topic, asked)
        except (KafkaException, TimeoutError):
            return
        self.observe(ends, time.monotonic())

    def observe(self, ends: Mapping[int, PartitionEnds], now_s: float) -> None:
        """Take what was found at ``now_s`` (monotonic seconds)."""
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
                "an open transaction holds a partition",
                partition=partition,
                why=reasons[partition],
                fix=fix_of(self._topic, partition, ends[partition].stable),
            )
        for partition in self.reasons.keys() - reasons.keys():
            log.info("no open transaction holds the partition any more", partition=partition)
        self.reasons = reasons
