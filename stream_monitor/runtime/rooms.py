"""Everything a worker is made of besides Faust, put together and taken apart in order."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from stream_monitor.runtime.agents import BatchAgent
from stream_monitor.runtime.committer import Committer
from stream_monitor.runtime.credentials import faust_credentials
from stream_monitor.runtime.custody import Custody
from stream_monitor.runtime.dead_letter_limit import DeadLetterLimit
from stream_monitor.runtime.health import HealthWatch
from stream_monitor.runtime.packed import PackedReader
from stream_monitor.runtime.partitions import Partitions
from stream_monitor.runtime.policy import CommitPolicy
from stream_monitor.runtime.publisher import Publisher
from stream_monitor.runtime.reader import LogReader, Trouble
from stream_monitor.runtime.reader_thread import ReaderThread
from stream_monitor.runtime.relay import Relay
from stream_monitor.runtime.takeover import Takeover
from stream_monitor.runtime.ticks import Ticker
from stream_monitor.runtime.topology import TopologyWatch
from stream_monitor.runtime.transactions import OpenTransactions
from stream_monitor.runtime.unpacking import Unpacking
from stream_monitor.runtime.watchdog import Watchdog
from stream_monitor.runtime.worker_announcer import WorkerAnnouncer
from stream_monitor.settings import Settings
from stream_monitor.state.fold import FoldFactory
from stream_monitor.state.store import StateStore, StoreUnavailable
from stream_monitor.web.metrics import Metrics

_PING_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rooms:
    """What the application wires to Faust."""

    store: StateStore
    partitions: Partitions
    reader: ReaderThread
    publisher: Publisher
    relay: Relay
    committer: Committer
    agent: BatchAgent
    custody: Custody
    unpacking: Unpacking
    ticker: Ticker
    topology: TopologyWatch
    health: HealthWatch
    transactions: OpenTransactions
    announcer: WorkerAnnouncer
    metrics: Metrics
    watchdog: Watchdog

    async def readiness(self) -> dict[str, Any]:
        """Ready: assigned, all of it taken over, no partition without an owner, Redis answers."""
        try:
            async with asyncio.timeout(_PING_S):
                await self.store.ping()
            answers = True
        except (StoreUnavailable, TimeoutError):
            answers = False
        waiting = self.custody.waiting
        assigned = self.custody.assigned
        unowned = self.topology.unowned
        return {
            "ready": answers and assigned is not None and not waiting and not unowned,
            "assigned": sorted(assigned or ()),
            "waiting": waiting,
            "unowned": unowned,
            "stopped": {str(p): why for p, why in self.custody.stopped.items()},
            "held": {str(p): why for p, why in self.transactions.reasons.items()},
            "redis": answers,
        }

    async def on_trouble(self, trouble: Trouble) -> None:
        """A partition cannot be read on."""
        await settle(trouble, self.agent, self.custody)

    async def look_for_left(self) -> None:
        """Find outbox entries of our partitions that nobody carries out."""
        await self.relay.look([owned.key for owned in self.partitions])

    async def give_up(self) -> None:
        """Last commit, release, last alerts; within five seconds."""
        await self.custody.revoke(self.agent.lock, self.committer)

    async def close(self) -> None:
        """Let everything go."""
        await self.reader.close()
        await self.unpacking.close()
        await self.publisher.close()
        await self.store.close()


async def settle(trouble: Trouble, agent: BatchAgent, custody: Custody) -> None:
    """Do what can be done about a partition that cannot be read on."""
    if trouble.what == "unreadable":
        elsewhere = await agent.on_unreadable(trouble)
        if elsewhere is not None:
            await custody.reposition(elsewhere)
        return
    async with agent.lock:  # a commit under way knows the position it began at
        await custody.on_trouble(trouble)


def broker_answers(settings: Settings) -> bool:
    """Whether any broker answers now.  Blocks for `_PING_S` at most."""
    try:
        AdminClient({**settings.kafka.client(), "log_level": 0}).list_topics(timeout=_PING_S)
    except KafkaException:
        return False
    return True


def build(settings: Settings, folds: FoldFactory, store: StateStore) -> Rooms:
    """The rooms of one worker.  Call it inside the loop they are to live in."""
    metrics = Metrics()
    partitions = Partitions()
    topics = settings.topics
    member = uuid.uuid4().hex
    publisher = Publisher(settings.kafka.client())
    reader = ReaderThread(
        LogReader(
            {**settings.kafka.client(), "group.id": topics.group},
            topics.events,
            max_records=settings.kafka.max_batch_records,
        )
    )
    relay = Relay(
        store,
        publisher,
        metrics,
        topic=topics.alerts,
        window_ttl_ms=settings.redis.window_ttl_ms,
    )
    takeover = Takeover(
        topic=topics.events,
        member=member,
        store=store,
        folds=folds,
        reader=reader,
        on_loss=settings.redis.on_loss,
    )
    custody = Custody(
        topic=topics.events,
        store=store,
        takeover=takeover,
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
        policy=CommitPolicy(interval_s=settings.commit.interval_s, share=settings.commit.share),
        patience_s=settings.commit.patience_s,
        on_lost=custody.lost,
    )
    agent = BatchAgent(
        partitions,
        committer,
        publisher,
        metrics,
        dead_letters=topics.dead_letters,
        limit=DeadLetterLimit(**settings.dead_letters.model_dump()),
        on_limit=custody.stop,
    )
    kafka = settings.kafka
    unpacking = Unpacking(
        partitions,
        PackedReader(topics.events, kafka.addresses(), faust_credentials(kafka.librdkafka)),
        agent,
        committer,
        on_trouble=lambda trouble: settle(trouble, agent, custody),
        go_on=custody.reposition,
    )
    topology = TopologyWatch(
        partitions,
        publisher,
        store,
        topic=topics.events,
        assigned=lambda: custody.assigned or frozenset(),
    )
    ticker = Ticker(partitions, publisher, metrics, idle_s=settings.kafka.tick_after_s)
    metrics.watch(
        lambda: [(owned.partition, dict(owned.fold.outcomes())) for owned in partitions],
        lambda: [
            (model, series, level)
            for owned in partitions
            for (model, series), level in owned.fold.levels().items()
        ],
        lambda: [
            (owned.partition, model, of, rate)
            for owned in partitions
            for (model, of), rate in owned.fold.error_rates().items()
        ],
        lambda: [
            (owned.partition, model, share, sampled_out)
            for owned in partitions
            for model, (share, sampled_out) in owned.fold.label_samples().items()
        ],
    )
    metrics.watch_coverage(
        lambda: [
            (owned.partition, model, rows)
            for owned in partitions
            for model, rows in owned.fold.coverage().items()
        ]
    )
    watchdog = Watchdog(
        settings.watchdog.stuck_s, lambda: committer.waiting or not broker_answers(settings)
    )
    return Rooms(
        watchdog=watchdog,
        store=store,
        partitions=partitions,
        reader=reader,
        publisher=publisher,
        relay=relay,
        committer=committer,
        agent=agent,
        custody=custody,
        unpacking=unpacking,
        ticker=ticker,
        topology=topology,
        health=HealthWatch(
            partitions,
            publisher,
            store,
            metrics,
            topic=topics.events,
            alerts=topics.alerts,
            prefix=topics.prefix,
            client=settings.kafka.client(),
        ),
        announcer=WorkerAnnouncer(store, partitions, topics.events, member),
        transactions=OpenTransactions(settings.kafka.client(), topics.events, metrics),
        metrics=metrics,
    )
