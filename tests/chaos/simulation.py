"""The commit protocol in one process: a log in memory, workers that die, a Redis that fails.

All decisions are the product's own code: recovery, processor, committer, relay and store.  A
schedule is a seed.  `Flaw` names ways to break the protocol that a run must notice.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any, Final, NamedTuple, cast

from producer.cloudevents import Headers
from stream_monitor.ingest.records import RecordBatch
from stream_monitor.metrics import Metrics
from stream_monitor.runtime.committer import Committer
from stream_monitor.runtime.outbox import OutboxRelay
from stream_monitor.runtime.ownership import PartitionRecovery
from stream_monitor.runtime.partitions import OwnedPartition, OwnedPartitions
from stream_monitor.runtime.processor import BatchProcessor
from stream_monitor.runtime.publisher import Publisher
from stream_monitor.runtime.reader import EventTopicReader
from stream_monitor.settings import CommitSettings, DeadLetterSettings
from stream_monitor.state.partition_state import PartitionStateFactory
from stream_monitor.state.redis_store import partition_key
from stream_monitor.state.store import AcquireRejected, CommitOutcome
from tests.chaos.event_time_state import TimedFolds, log_of
from tests.chaos.faulty_store import Died, FaultyStore, Flaw, Image

TOPIC: Final = "simulated-log"
PARTITIONS: Final = 2
KEYS: Final = {p: partition_key(TOPIC, p) for p in range(PARTITIONS)}
SAVED: Final = 0.1
"""In how many steps the store keeps what it may be set back to."""
RECORDS: Final = 160
STEPS: Final = 110
WORKERS: Final = 3


class Topic:
    """What was published, as a `Publisher`."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    async def publish(
        self, topic: str, *, headers: Headers, **_record: Any
    ) -> asyncio.Future[None]:
        """Take a record, acknowledged at once."""
        del topic
        self.ids.append(str(cast("Any", dict(headers))["ce_id"].decode()))
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done


class FromTheStart:
    """The reader of the event topic, as far as partition recovery needs it."""

    async def earliest(self, _partition: int) -> int:
        """Nothing was deleted."""
        return 0

    async def committed(self, _partition: int) -> None:
        """Report no offset to Kafka."""


class Worker:
    """One member: what `bootstrap.build` makes, without Faust around it."""

    def __init__(self, name: str, world: World) -> None:
        self.world = world
        self.partitions = OwnedPartitions()
        metrics = Metrics()
        publisher = cast("Publisher", world.alerts)
        self.relay = OutboxRelay(world.store, publisher, metrics, topic="alerts", window_ttl_ms=1)
        self.committer = Committer(
            world.store,
            self.partitions,
            self.relay,
            metrics,
            settings=CommitSettings(interval_s=1e9),
            on_rejected=self._lost,
            max_run_s=0.0,  # other tasks run between any two steps
        )
        self.processor = BatchProcessor(
            self.partitions,
            self.committer,
            cast("Publisher", world.dead_letters),
            metrics,
            dead_letters="dead",
            limit=DeadLetterSettings(),
            on_limit=self._never,
            max_run_s=0.0,
        )
        self.recovery = PartitionRecovery(
            topic=TOPIC,
            member=name,
            store=world.store,
            state_factory=cast("PartitionStateFactory", world.folds),
            reader=cast("EventTopicReader", FromTheStart()),
            on_state_loss="rebuild",
        )
        self.ahead: list[RecordBatch] = []

    async def take(self, partition: int, generation: int) -> None:
        """The group assigns a partition to this worker; the former owner is not notified."""
        before = self.partitions.get(partition)
        if before is not None:
            self._forget(before)
        kept = self.recovery._retained.get(partition)
        if kept is not None and self.world.flaw is Flaw.STALE_MEMORY:
            (stored,) = await self.world.store.read(KEYS[partition], ["_next"])
            self.recovery._retained[partition] = kept._replace(next=int(stored or 0))
        taken = await self.recovery.take(partition, generation)
        assert not isinstance(taken, AcquireRejected)
        if kept is not None:
            resumed = taken.owned.partition_state is kept.partition_state
            self.world.store.seen["resumed" if resumed else "loaded instead"] += 1
        self.partitions.add(taken.owned)
        self.relay.add(taken.owned.key, taken.outbox)

    async def give_up(self, owned: OwnedPartition) -> None:
        """A rebalance: the last commit, then the partition is free."""
        if await self.committer.commit(owned):
            await self.world.store.release(owned.key, owned.fencing_token)
            self.recovery.retain(owned)
        self._forget(owned)

    async def feed(self, owned: OwnedPartition, size: int) -> None:
        """Apply the next batch, or one that was fetched before a fault."""
        if self.ahead and self.world.chance.random() < 0.3:
            batch = self.ahead.pop()
        else:
            batch = self.world.cut(owned, owned.position, size)
            self.ahead = [*self.ahead[-3:], self.world.cut(owned, batch.next, size)]
        if self.world.flaw is Flaw.NO_START_CHECK and batch.partition == owned.partition:
            batch = batch._replace(start=owned.position, fetch_generation=owned.fetch_generation)
        await self.processor.on_batch(batch)

    async def publish(self) -> None:
        """One round of the relay."""
        if not self.relay._pending:
            return
        if self.world.flaw is Flaw.CLEARED_FIRST:
            for key, entries in self.relay._pending.items():
                await self.world.store.discard(key, list(entries))
        await self.relay._round()

    def _lost(self, owned: OwnedPartition, _outcome: CommitOutcome) -> None:
        self._forget(owned)

    def _forget(self, owned: OwnedPartition) -> None:
        self.partitions.drop(owned)
        self.relay.forget(owned.key)

    async def _never(self, _owned: OwnedPartition, why: str) -> None:
        raise AssertionError(why)


class World:
    """A log, a store, topics, and a schedule by chance."""

    def __init__(self, redis_url: str, seed: int, flaw: Flaw) -> None:
        self.chance, self.flaw = random.Random(seed), flaw  # noqa: S311
        self.log = {p: log_of(self.chance, RECORDS) for p in range(PARTITIONS)}
        self.store = FaultyStore(redis_url, [*KEYS.values()], self.chance, flaw)
        self.folds = TimedFolds(flaw)
        self.left: Image = {}
        self.alerts, self.dead_letters = Topic(), Topic()
        self.deaths = 0
        self._names = 0
        self._n_labels = 0
        self.workers = [self.hire() for _ in range(WORKERS)]

    def hire(self) -> Worker:
        """A process that has just started."""
        self._names += 1
        return Worker(f"worker-{self._names}", self)

    def cut(self, owned: OwnedPartition, start: int, size: int) -> RecordBatch:
        """Records from ``start`` on; every other offset holds none."""
        rest = [r for r in self.log[owned.partition] if r.offset >= start][:size]
        upto = rest[-1].offset + 1 if rest else start
        return RecordBatch(TOPIC, owned.partition, owned.fetch_generation, start, upto, rest)

    async def run(self) -> None:
        """Run the schedule without further faults, then let one worker finish."""
        await self.store.begin()
        try:
            await self._play()
            self.left = await self.store.image()
        finally:
            await self.store.begin()
            await self.store.close()

    async def _play(self) -> None:
        for step in range(STEPS):
            number = self.chance.randrange(WORKERS)
            try:
                await self._step(self.workers[number], generation=step)
            except Died:
                self.deaths += 1
                self.workers[number] = self.hire()
        self.store.calm = True
        last = self.hire()
        for partition in range(PARTITIONS):
            await self._finish(last, partition)

    async def _step(self, worker: Worker, generation: int) -> None:
        if self.chance.random() < SAVED:
            await self.store.save()
        self._join_labels()
        kind = self.chance.random()
        mine = list(worker.partitions)
        if kind < 0.08:
            await self.store.rewind()
        elif kind < 0.22 or not mine:
            await worker.take(self.chance.randrange(PARTITIONS), generation)
        elif kind < 0.28:
            await worker.give_up(self.chance.choice(mine))
        elif kind < 0.70:
            await worker.feed(self.chance.choice(mine), self.chance.randint(1, 12))
        elif kind < 0.85:
            await worker.committer.commit(self.chance.choice(mine))
        else:
            await worker.publish()

    def _join_labels(self) -> None:
        """The same labels come in elsewhere too, for a protocol that reads them there."""
        self._n_labels += 1
        for records in self.log.values():
            if self._n_labels < len(records) and (records[self._n_labels].value or b"").startswith(
                b"l"
            ):
                self.folds.elsewhere.arrived.append(
                    (records[self._n_labels].value or b"")[1:].decode()
                )

    async def _finish(self, worker: Worker, partition: int) -> None:
        end = self.log[partition][-1].offset + 1
        await worker.take(partition, STEPS)
        owned = worker.partitions.get(partition)
        assert owned is not None
        while owned.position < end:
            assert not owned.is_lost(), "no other worker can acquire it"
            await worker.processor.on_batch(self.cut(owned, owned.position, 50))
        assert await worker.committer.commit(owned)
        while worker.relay._pending:
            await worker.publish()


class Outcomes(NamedTuple):
    """State, alerts and dead letters of a run."""

    state: dict[int, dict[str, bytes]]
    alerts: set[str]
    dead_letters: set[str]


def left_behind(world: World) -> Outcomes:
    """What the run left in the store and on the topics."""
    state = {
        p: {
            name.decode(): value
            for name, value in world.left[KEYS[p]].items()
            if value and name.startswith((b"s:", b"b:", b"o:"))
        }
        for p in world.log
    }
    return Outcomes(state, set(world.alerts.ids), set(world.dead_letters.ids))


def undisturbed(world: World) -> Outcomes:
    """The outcomes of the same records without faults."""
    state, alerts, dead_letters = {}, set(), set()
    for partition, records in world.log.items():
        fold = TimedFolds().new(TOPIC, partition)
        seen = fold.observe(RecordBatch(TOPIC, partition, "", 0, records[-1].offset + 1, records))
        state[partition] = fold.take_changes()
        alerts |= {alert.alert_id for alert in seen.alerts}
        dead_letters |= {dead_letter.dead_letter_id for dead_letter in seen.dead_letters}
    return Outcomes(state, alerts, dead_letters)


def play(redis_url: str, seed: int, flaw: Flaw = Flaw.NONE) -> World:
    """One schedule, to its end."""
    world = World(redis_url, seed, flaw)
    asyncio.run(world.run())
    return world
