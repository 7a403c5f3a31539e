from __future__ import annotations

from typing import cast

from stream_monitor.ingest.records import RecordBatch
from stream_monitor.runtime.partitions import OwnedPartition, OwnedPartitions
from stream_monitor.state.partition_state import PartitionState


def owned(partition: int = 0, fetch_generation: str = "epoch.0") -> OwnedPartition:
    return OwnedPartition(
        topic="log",
        partition=partition,
        key="key",
        fencing_token="epoch",  # noqa: S106
        fetch_generation=fetch_generation,
        partition_state=cast("PartitionState", None),
        position=5,
        committed=5,
        last_record_s=0.0,
    )


def batch(fetch_generation: str, partition: int = 0) -> RecordBatch:
    return RecordBatch("log", partition, fetch_generation, 5, 6, [])


def test_a_batch_fetched_before_a_seek_is_dropped() -> None:
    partitions = OwnedPartitions()
    mine = owned()
    partitions.add(mine)
    assert partitions.current(batch("epoch.0")) is mine
    mine.fetch_generation = "epoch.1"
    assert partitions.current(batch("epoch.0")) is None
    assert partitions.current(batch("epoch.1")) is mine


def test_a_dropped_partition_accepts_no_batch_and_is_lost() -> None:
    partitions = OwnedPartitions()
    mine = owned()
    partitions.add(mine)
    partitions.drop(mine)
    assert partitions.current(batch("epoch.0")) is None
    assert mine.is_lost()


def test_dropping_a_former_owner_leaves_the_present_one() -> None:
    partitions = OwnedPartitions()
    former, present = owned(fetch_generation="a.0"), owned(fetch_generation="b.0")
    partitions.add(former)
    partitions.add(present)
    partitions.drop(former)
    assert partitions.get(0) is present


def test_changes_are_pending_since_the_first_uncommitted_record() -> None:
    mine = owned()
    mine.advance(6, 1.0)
    mine.advance(9, 2.0)
    assert (mine.position, mine.uncommitted_since_s) == (9, 1.0)
    mine.mark_committed(9)
    assert (mine.committed, mine.uncommitted_since_s) == (9, None)


def test_the_cost_of_commits_is_that_of_all_partitions() -> None:
    partitions = OwnedPartitions()
    for number in range(3):
        mine = owned(number)
        mine.last_commit_s = 0.25
        partitions.add(mine)
    assert partitions.last_commits_s == 0.75
