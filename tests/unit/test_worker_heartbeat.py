"""The heartbeat of a worker states the partitions that it owns, as soon as that changes."""

from __future__ import annotations

from stream_monitor.runtime.partitions import OwnedPartitions
from stream_monitor.runtime.worker_heartbeat_writer import WorkerHeartbeatWriter
from stream_monitor.worker_heartbeat import decode_heartbeats, workers_key
from tests.event_loop import in_event_loop
from tests.memory_store import InMemoryStateStore
from tests.unit.test_owned_partition import owned


@in_event_loop
async def test_a_heartbeat_follows_the_partitions_without_waiting_for_the_next_one() -> None:
    """Else `doctor` warns of a worker that just started and has read all events."""
    store, partitions = InMemoryStateStore(), OwnedPartitions()
    writer = WorkerHeartbeatWriter(store, partitions, "log", "me")

    async def stated() -> list[int]:
        await writer.write_if_changed()
        [note] = decode_heartbeats(store.hashes[workers_key("log")])
        return note.partitions

    await writer.write()
    assert await stated() == []
    partitions.add(owned(3))
    partitions.add(owned(1))
    assert await stated() == [1, 3]
    partitions.drop(owned(3))
    partitions.drop(next(one for one in partitions if one.partition == 3))
    assert await stated() == [1]


@in_event_loop
async def test_an_unchanged_heartbeat_is_not_written_again() -> None:
    store, partitions = InMemoryStateStore(), OwnedPartitions()
    writer = WorkerHeartbeatWriter(store, partitions, "log", "me")
    await writer.write()
    store.hashes.clear()

    await writer.write_if_changed()

    assert workers_key("log") not in store.hashes


@in_event_loop
async def test_nothing_is_written_after_the_removal() -> None:
    """The partitions of a worker that stops change last; its heartbeat would stay."""
    store, partitions = InMemoryStateStore(), OwnedPartitions()
    partitions.add(owned(3))
    writer = WorkerHeartbeatWriter(store, partitions, "log", "me")
    await writer.write()

    await writer.remove()
    partitions.drop(next(iter(partitions)))
    await writer.write_if_changed()

    assert not store.hashes.get(workers_key("log"))
