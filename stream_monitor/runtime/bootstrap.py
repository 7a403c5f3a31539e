"""Builds the components of a worker, except Faust, and closes them in order."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from typing import Any

from producer.kafka_client import is_reachable
from stream_monitor.metrics import Metrics
from stream_monitor.runtime.committer import Committer
from stream_monitor.runtime.credentials import faust_credentials
from stream_monitor.runtime.health_reporter import HealthReporter
from stream_monitor.runtime.open_transactions import OpenTransactionMonitor
from stream_monitor.runtime.outbox import OutboxRelay
from stream_monitor.runtime.ownership import PartitionOwnership, PartitionRecovery
from stream_monitor.runtime.partitions import OwnedPartitions
from stream_monitor.runtime.poison_records import GuardedFetch, RawBatchReader
from stream_monitor.runtime.processor import BatchProcessor
from stream_monitor.runtime.publisher import Publisher
from stream_monitor.runtime.reader import EventTopicReader, ReadFailure
from stream_monitor.runtime.ticker import Ticker
from stream_monitor.runtime.topology_reconciler import TopologyReconciler
from stream_monitor.runtime.watchdog import Watchdog
from stream_monitor.runtime.worker_heartbeat_writer import WorkerHeartbeatWriter
from stream_monitor.settings import Settings
from stream_monitor.state.partition_state import PartitionStateFactory
from stream_monitor.state.redis_store import RedisStateStore
from stream_monitor.state.store import StoreUnavailable

_PING_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Components:
    """The components of a worker, which the application connects to Faust."""

    store: RedisStateStore
    partitions: OwnedPartitions
    reader: EventTopicReader
    publisher: Publisher
    relay: OutboxRelay
    committer: Committer
    processor: BatchProcessor
    ownership: PartitionOwnership
    guarded_fetch: GuardedFetch
    ticker: Ticker
    topology: TopologyReconciler
    health: HealthReporter
    transactions: OpenTransactionMonitor
    heartbeat_writer: WorkerHeartbeatWriter
    metrics: Metrics
    watchdog: Watchdog

    async def readiness(self) -> dict[str, Any]:
        """The answer of ``/readyz``.

        Ready: all assigned partitions are owned, every partition has an owner, Redis answers.
        """
        try:
            async with asyncio.timeout(_PING_S):
                await self.store.ping()
            answers = True
        except (StoreUnavailable, TimeoutError):
            answers = False
        waiting = self.ownership.waiting
        assigned = self.ownership.assigned
        unowned = self.topology.unowned
        return {
            "ready": answers and assigned is not None and not waiting and not unowned,
            "assigned": sorted(assigned or ()),
            "waiting": waiting,
            "unowned": unowned,
            "stopped": {str(p): why for p, why in self.ownership.stopped.items()},
            "held": {str(p): why for p, why in self.transactions.reasons.items()},
            "redis": answers,
        }

    async def on_read_failure(self, failure: ReadFailure) -> None:
        """Handle a partition that cannot be read further."""
        await handle_read_failure(failure, self.processor, self.ownership)

    async def publish_orphaned(self) -> None:
        """Publish entries of owned partitions that were not added to the outbox relay."""
        await self.relay.publish_orphaned([owned.key for owned in self.partitions])

    async def revoke_all(self) -> None:
        """Commit, release and publish the outbox of all partitions, within five seconds."""
        await self.ownership.revoke(self.processor.lock, self.committer)

    async def close(self) -> None:
        """Close the reader, the clients and the store."""
        await self.reader.close()
        await self.guarded_fetch.close()
        await self.publisher.close()
        await self.store.close()


async def handle_read_failure(
    failure: ReadFailure, processor: BatchProcessor, ownership: PartitionOwnership
) -> None:
    """Skip an unreadable record, or let ``ownership`` reposition or rebuild the partition."""
    if failure.kind == "unreadable":
        elsewhere = await processor.on_unreadable(failure)
        if elsewhere is not None:
            await ownership.reposition(elsewhere)
        return
    async with processor.lock:  # a commit in progress depends on the position
        await ownership.on_read_failure(failure)


def build(
    settings: Settings, state_factory: PartitionStateFactory, store: RedisStateStore
) -> Components:
    """Build the components of one worker.  Call it inside the event loop that runs them."""
    metrics = Metrics()
    partitions = OwnedPartitions()
    topics = settings.topics
    member = uuid.uuid4().hex
    publisher = Publisher(settings.kafka.client())
    reader = EventTopicReader(
        settings.kafka.client(),
        topics.events,
        group=topics.group,
        max_records=settings.kafka.max_batch_records,
    )
    relay = OutboxRelay(
        store, publisher, metrics, topic=topics.alerts, window_ttl_ms=settings.redis.window_ttl_ms
    )
    recovery = PartitionRecovery(
        topic=topics.events,
        member=member,
        store=store,
        state_factory=state_factory,
        reader=reader,
        on_state_loss=settings.redis.on_state_loss,
    )
    ownership = PartitionOwnership(
        topic=topics.events,
        store=store,
        recovery=recovery,
        partitions=partitions,
        reader=reader,
        relay=relay,
        metrics=metrics,
    )
    committer = Committer(
        store,
        partitions,
        relay,
        metrics,
        settings=settings.commit,
        on_rejected=ownership.on_commit_rejected,
    )
    processor = BatchProcessor(
        partitions,
        committer,
        publisher,
        metrics,
        dead_letters=topics.dead_letters,
        limit=settings.dead_letters,
        on_limit=ownership.stop,
    )
    kafka = settings.kafka
    guarded_fetch = GuardedFetch(
        partitions,
        RawBatchReader(topics.events, kafka.addresses(), faust_credentials(kafka.librdkafka)),
        processor,
        committer,
        on_read_failure=lambda failure: handle_read_failure(failure, processor, ownership),
        reposition=ownership.reposition,
    )
    topology = TopologyReconciler(
        partitions,
        publisher,
        store,
        topic=topics.events,
        assigned=lambda: ownership.assigned or frozenset(),
    )
    ticker = Ticker(partitions, publisher, metrics, idle_s=settings.kafka.tick_after_s)
    metrics.watch(
        lambda: [(owned.partition, owned.partition_state) for owned in partitions],
        settings.drift_limits(),
    )
    watchdog = Watchdog(
        settings.watchdog.stall_timeout_s,
        lambda: committer.waiting or not is_reachable(settings.kafka.client(), _PING_S),
    )
    return Components(
        watchdog=watchdog,
        store=store,
        partitions=partitions,
        reader=reader,
        publisher=publisher,
        relay=relay,
        committer=committer,
        processor=processor,
        ownership=ownership,
        guarded_fetch=guarded_fetch,
        ticker=ticker,
        topology=topology,
        health=HealthReporter(
            partitions,
            publisher,
            store,
            metrics,
            topic=topics.events,
            alerts=topics.alerts,
            prefix=topics.prefix,
            client=settings.kafka.client(),
        ),
        heartbeat_writer=WorkerHeartbeatWriter(store, partitions, topics.events, member),
        transactions=OpenTransactionMonitor(settings.kafka.client(), topics.events, metrics),
        metrics=metrics,
    )
