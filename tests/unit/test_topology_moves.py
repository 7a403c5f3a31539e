"""Which references move where, and who writes what when partitions or shards are added."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from driftline.topics.topic_growth import plan_growth
from producer.codec import decode
from producer.events import CE_TYPE_OF, ModelUpdate, Topology
from producer.routing import partition_of
from stream_monitor.core.partition import PartitionMonitor
from stream_monitor.core.reference_transfer import next_topology, transfer_record, transfers_of
from stream_monitor.ingest.records import ConsumerRecord, RecordBatch
from stream_monitor.runtime.partitions import OwnedPartition, OwnedPartitions
from stream_monitor.runtime.topology_reconciler import TopologyReconciler
from stream_monitor.state.partition_state import (
    PartitionState,
    profile_field,
    profile_in,
    topology_in,
)
from stream_monitor.state.redis_store import partition_key
from tests.memory_store import InMemoryStateStore
from tests.unit.test_placement import GROWN, MODEL, SPEC, Partition, events, update

LATER_MS = 2_000_000_000_000  # the watch writes times of today
TWO = Topology(id="t1", time_ms=0, generation=1, partitions=2)


class Log:
    """A topic in memory that folds what is published into the partitions it has."""

    def __init__(self, partitions: int) -> None:
        self.n_partitions = partitions
        self.parts: dict[int, Partition] = {}
        self.published: list[tuple[int, Any]] = []

    def part(self, partition: int) -> Partition:
        part = self.parts.setdefault(partition, Partition(partition))
        part.now_ms = max(part.now_ms, LATER_MS)
        return part

    def partitions(self, topic: str, timeout_s: float) -> int:  # noqa: ARG002
        return self.n_partitions

    async def publish(
        self,
        topic: str,  # noqa: ARG002
        *,
        value: bytes,
        headers: Any,
        partition: int,
    ) -> asyncio.Future[None]:
        kind = dict(headers)["ce_type"].decode()
        event = decode(value, kind)
        self.published.append((partition, event))
        self.part(partition).write(event)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    def kinds(self) -> list[tuple[int, str]]:
        return [(partition, type(event).__name__) for partition, event in self.published]


class Worker:
    """The topology watch of one worker that owns some partitions."""

    def __init__(self, log: Log, store: InMemoryStateStore, *owned: int) -> None:
        self.log, self.store = log, store
        self.partitions = OwnedPartitions()
        for partition in owned:
            self.own(partition)
        self.watch = TopologyReconciler(
            self.partitions,
            log,  # type: ignore[arg-type]
            store,
            topic="events",
            assigned=lambda: [o.partition for o in self.partitions],
        )

    def own(self, partition: int) -> None:
        key = partition_key("events", partition)
        self.store.hashes.setdefault(key, {})["_epoch"] = b"e"
        fold = PartitionState(self.log.part(partition).monitor, "d")
        self.partitions.add(
            OwnedPartition(
                topic="events",
                partition=partition,
                key=key,
                fencing_token="e",  # noqa: S106
                fetch_generation="e",
                partition_state=fold,
                position=0,
                committed=0,
                last_record_s=0,
            )
        )

    def look(self) -> list[tuple[int, str]]:
        """What it publishes; afterwards all it owns is committed."""
        before = len(self.log.published)
        asyncio.run(self.watch.reconcile())
        for owned in self.partitions:
            self.store.hashes[owned.key] |= owned.partition_state.take_changes()
        return self.log.kinds()[before:]


def test_the_first_check_writes_the_placement_and_the_second_nothing() -> None:
    worker = Worker(Log(2), InMemoryStateStore(), 0, 1)

    assert worker.look() == [(0, "Topology"), (1, "Topology")]
    assert worker.look() == []


def test_references_are_copied_before_the_record_that_models_moved() -> None:
    log = Log(2)
    log.part(0).write(TWO, update(), *events(50))
    log.part(1).write(TWO)
    worker = Worker(log, InMemoryStateStore(), 0, 1)
    assert worker.look() == []

    log.n_partitions = 4
    assert worker.look() == [(2, "ModelUpdate"), (0, "Topology"), (1, "Topology")]
    assert worker.watch.unowned == [2, 3]
    assert worker.look() == []
    worker.own(2)
    worker.own(3)
    assert worker.look() == [(2, "Topology"), (3, "Topology")]
    assert worker.watch.unowned == []
    assert worker.look() == []
    for partition in range(4):
        topology = log.part(partition).monitor.placement.latest
        assert topology is not None
        assert (topology.partitions, topology.before, topology.generation) == (4, (2, {}), 2)
    assert "1" in log.part(2).monitor.models[MODEL].versions


def test_another_worker_that_sees_it_later_writes_the_same_once_more_at_most() -> None:
    log, store = Log(2), InMemoryStateStore()
    log.part(0).write(TWO, update())
    log.part(1).write(TWO)
    first, second = Worker(log, store, 0), Worker(log, store, 1)
    first.look()
    second.look()
    log.n_partitions = 4
    assert first.look() == [(2, "ModelUpdate"), (0, "Topology")]
    assert second.look() == [(1, "Topology")]
    zero, one = (log.part(p).monitor.placement.latest for p in (0, 1))
    assert zero is not None
    assert one is not None
    assert (zero.id, zero.generation) == (one.id, one.generation)


def test_shards_are_counted_from_keys_and_announced_to_all_partitions() -> None:
    log = Log(4)
    home = partition_of(MODEL, 4)
    worker = Worker(log, InMemoryStateStore(), *range(4))
    worker.look()
    log.part(home).write(update(), *events(20))
    records = [
        ConsumerRecord(0, 0, None, b"", key)
        for key in (b"fraud/7", b"x", b"other/x", None, b"fraud/3", b"fraud/9999999")
    ]
    worker.watch.observe_keys(RecordBatch("events", 0, "e", 0, 1, records))

    worker.look()

    homes = {partition_of(f"{MODEL}/{k}", 4) for k in range(8)} - {home}
    assert {p for p, kind in log.kinds() if kind == "ModelUpdate"} == homes
    assert all(
        part.monitor.placement.latest is not None
        and part.monitor.placement.latest.shards == {MODEL: 8}
        for part in log.parts.values()
    )


def test_fewer_partitions_are_accepted_only_after_a_while() -> None:
    worker = Worker(Log(4), InMemoryStateStore(), 0, 1)
    worker.look()
    worker.log.n_partitions = 2

    assert worker.look() == []


def test_a_reference_left_behind_by_an_earlier_change_moves_after_the_latest_one() -> None:
    """Partition 0 of 2 held it, then 2 of 4; of 6 it is 4."""
    old, new = Partition(0), Partition(2)
    old.write(TWO, update(), GROWN)
    new.write(GROWN, update(moved_from=0))
    third = next_topology(GROWN, 6, {}, 0)

    def moves(part: Partition) -> list[tuple[tuple[int, ...], bool, bool]]:
        held = transfers_of(part.monitor.models.values(), part.monitor.partition, third)
        return [(move.partitions, move.left, move.late) for move in held]

    assert moves(old) == [((4,), True, True)]
    assert moves(new) == [((4,), True, False)]


def test_a_reference_is_transferred_with_its_error_reference() -> None:
    from producer.events import Label  # noqa: PLC0415

    old = Partition(0)
    sent = list(events(SPEC.warm_up_labels + 10))
    labels = [
        Label(id=event.id, model=MODEL, label=i % 2, time_ms=0) for i, event in enumerate(sent)
    ]
    old.write(TWO, update(), *sent, *labels)
    (move,) = transfers_of(old.monitor.models.values(), 0, GROWN)

    assert old.monitor.models[MODEL].versions["1"].profile.loss is None
    assert move.profile.loss is not None


def test_models_that_appear_during_a_transfer_do_not_end_it() -> None:
    """Each reference is copied by a request, while the worker processes other records."""
    old = Partition(0)
    old.write(TWO, update(), *events(20))
    transfers = transfers_of(old.monitor.models.values(), 0, GROWN)
    first = next(transfers)
    old.write(msgspec.structs.replace(update(), id="u2", version="2"))
    old.write(*(msgspec.structs.replace(event, model="other") for event in events(20)))

    assert first.profile.version == "1"
    assert list(transfers) == []


def test_growing_by_command_does_the_same_and_once() -> None:
    old, other = Partition(0), Partition(1)
    old.write(TWO, update(), *events(20))
    other.write(TWO)
    states: list[PartitionMonitor] = [old.monitor, other.monitor]

    growth = plan_growth(states, 2, 4, {}, 0)

    assert growth.moved == {MODEL: ((0,), (2,))}
    assert [(copy.update.version, copy.partition) for copy in growth.copies] == [("1", 2)]
    assert growth.outdated == [0, 1, 2, 3]
    new = [Partition(2), Partition(3)]
    for copy in growth.copies:
        new[0].write(copy.update)
    for part in (old, other, *new):
        part.write(growth.topology)
    done = plan_growth([*states, *(part.monitor for part in new)], 4, 4, {}, 0)
    assert (done.copies, done.outdated) == ([], [])
    assert done.topology.generation == 2


def test_the_fields_of_the_store_that_are_read_are_those_that_are_written() -> None:
    part = Partition(0)
    part.write(TWO, update())
    fields = PartitionState(part.monitor, "d").take_changes()

    assert profile_in(fields[profile_field(MODEL, "1")]).origin == "training"
    assert topology_in(fields["s:topology"]) == TWO


@pytest.mark.parametrize("kind", [ModelUpdate, Topology])
def test_both_records_have_a_name_on_the_wire(kind: type) -> None:
    assert CE_TYPE_OF[kind].startswith("io.driftline.")


def test_the_champion_is_the_champion_where_it_moves_to() -> None:
    old, new = Partition(0), Partition(2)
    old.write(TWO, update(), *events(20))
    (move,) = transfers_of(old.monitor.models.values(), 0, GROWN)
    assert move.champion
    new.write(GROWN, transfer_record(move, 0, 2, 0))

    assert new.monitor.models[MODEL].retention.champion == "1"
