"""Rules of commits whose answer does not come, and of those that are interrupted."""

from __future__ import annotations

import asyncio
import time
from typing import cast

import pytest

from stream_monitor.core.spec import MonitorSpec
from stream_monitor.metrics import Metrics
from stream_monitor.runtime.committer import Committer, CommitTimeout
from stream_monitor.runtime.outbox import OutboxRelay
from stream_monitor.runtime.partitions import OwnedPartition, OwnedPartitions
from stream_monitor.runtime.publisher import Publisher
from stream_monitor.settings import CommitSettings
from stream_monitor.state.store import AttemptMarker, Commit, CommitOutcome, CommitResult
from tests.event_loop import in_event_loop
from tests.memory_store import InMemoryStateStore, new_partition

TOPIC = "log"


class SilentStore(InMemoryStateStore):
    """A store that does not apply commits while its answers are lost or late."""

    lost = True
    late = False

    async def commit(self, key: str, commit: Commit) -> CommitResult:
        if self.late:
            await asyncio.Event().wait()
        if self.lost:
            return CommitResult(CommitOutcome.UNKNOWN, "connection lost")
        return await super().commit(key, commit)


async def uncommitted(
    store: InMemoryStateStore, timeout_s: float
) -> tuple[Committer, OwnedPartition]:
    """A committer, and a partition whose state is ahead of the store."""
    partitions, metrics = OwnedPartitions(), Metrics()
    relay = OutboxRelay(store, cast("Publisher", None), metrics, topic="alerts", window_ttl_ms=1)
    committer = Committer(
        store,
        partitions,
        relay,
        metrics,
        settings=CommitSettings(timeout_s=timeout_s),
        on_rejected=lambda _owned, outcome: pytest.fail(outcome),
        max_run_s=0.0,
    )
    owned = await new_partition(store, MonitorSpec(), TOPIC)
    partitions.add(owned)
    owned.advance(7, time.monotonic())
    return committer, owned


async def assert_nothing_is_stored(
    store: SilentStore, committer: Committer, owned: OwnedPartition
) -> None:
    """The last commit of a revocation must not store an offset without its state."""
    store.lost = store.late = False
    assert not await committer.commit(owned)
    assert owned.is_lost()
    assert "_next" not in store.hashes["key"]


@in_event_loop
async def test_a_partition_is_lost_when_its_commit_times_out() -> None:
    store = SilentStore()
    committer, owned = await uncommitted(store, timeout_s=1e-9)
    with pytest.raises(CommitTimeout):
        await committer.commit(owned)
    await assert_nothing_is_stored(store, committer, owned)


@in_event_loop
async def test_a_partition_is_lost_when_its_commit_is_cancelled() -> None:
    store = SilentStore()
    store.late = True
    committer, owned = await uncommitted(store, timeout_s=60.0)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await committer.commit(owned)
    await assert_nothing_is_stored(store, committer, owned)


@in_event_loop
async def test_a_commit_that_is_applied_stores_the_offset() -> None:
    store = SilentStore()
    store.lost = False
    committer, owned = await uncommitted(store, timeout_s=60.0)
    assert await committer.commit(owned)
    assert store.hashes["key"]["_next"] == b"7"


@in_event_loop
async def test_a_partition_lost_while_its_changes_are_encoded_is_not_written() -> None:
    store = SilentStore()
    store.lost = False
    committer, owned = await uncommitted(store, timeout_s=60.0)
    commit = asyncio.ensure_future(committer.commit(owned))
    await asyncio.sleep(0)
    owned.mark_lost()
    assert not await commit
    assert "_next" not in store.hashes["key"]


@in_event_loop
async def test_the_attempt_marker_of_a_partition_lost_meanwhile_is_not_written() -> None:
    store = SilentStore()
    store.lost = False
    committer, owned = await uncommitted(store, timeout_s=60.0)
    write = asyncio.ensure_future(committer.write_attempt_marker(owned, AttemptMarker(7, 1)))
    await asyncio.sleep(0)
    owned.mark_lost()
    assert not await write
    assert "_next" not in store.hashes["key"]


@in_event_loop
async def test_a_partition_is_lost_when_the_encoding_of_its_changes_is_cancelled() -> None:
    store = SilentStore()
    committer, owned = await uncommitted(store, timeout_s=60.0)
    commit = asyncio.ensure_future(committer.commit(owned))
    await asyncio.sleep(0)
    commit.cancel()
    await asyncio.wait({commit})
    await assert_nothing_is_stored(store, committer, owned)
