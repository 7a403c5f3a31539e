"""Every store keeps the same promises."""

from __future__ import annotations

import uuid

import pytest

from stream_monitor.state.redis_store import RedisStateStore
from stream_monitor.state.store import (
    ATTEMPT_FIELD,
    CHUNKED_FIELD,
    MAX_PAIRS,
    Acquired,
    AcquireRejected,
    AttemptMarker,
    Commit,
    CommitOutcome,
    CommitTooLarge,
)
from tests.contracts.conftest import OWNER_TIMEOUT_MS, on_every_store
from tests.memory_store import InMemoryStateStore

TTL_MS = 60_000


async def take(
    store: RedisStateStore, key: str, generation: int = 1, member: str = "a"
) -> Acquired:
    acquired = await store.acquire(key, generation, member, 1_000)
    assert isinstance(acquired, Acquired)
    return acquired


def write(fencing_token: str, expect: int | None, upto: int, **fields: bytes) -> Commit:
    return Commit(fencing_token, uuid.uuid4().hex, expect, upto, 1_000, fields)


@on_every_store
async def test_a_partition_without_a_commit_has_no_offset_and_no_fields(
    store: RedisStateStore, key: str
) -> None:
    acquired = await take(store, key)
    assert acquired.next is None
    assert acquired.attempts == 1
    assert await store.load(key) == {}


@on_every_store
async def test_state_and_offset_are_read_back_together(store: RedisStateStore, key: str) -> None:
    fencing_token = (await take(store, key)).fencing_token
    fields = {"s:x": bytes(range(256)), "o:a:1": b"{}"}
    commit = Commit(fencing_token, "t", None, 7, 1_000, fields)
    assert (await store.commit(key, commit)).outcome is CommitOutcome.OK
    assert (await take(store, key)).next == 7
    assert await store.load(key) == fields


@on_every_store
async def test_two_acquisitions_never_share_an_epoch(store: RedisStateStore, key: str) -> None:
    assert len({(await take(store, key)).fencing_token for _ in range(20)}) == 20


@on_every_store
async def test_an_older_generation_is_rejected_while_the_newer_one_writes(
    store: RedisStateStore, key: str
) -> None:
    await store.acquire(key, 5, "new", 1_000)
    rejected = await store.acquire(key, 4, "old", 1_000 + OWNER_TIMEOUT_MS - 1)
    assert rejected == AcquireRejected(5, "new", OWNER_TIMEOUT_MS - 1)
    assert isinstance(await store.acquire(key, 4, "old", 1_000 + OWNER_TIMEOUT_MS), Acquired)


@on_every_store
async def test_a_clock_far_ahead_does_not_lock_other_workers_out(
    store: RedisStateStore, key: str
) -> None:
    await store.acquire(key, 5, "new", 10**12)
    assert isinstance(await store.acquire(key, 4, "old", 1_000), Acquired)


@on_every_store
async def test_the_same_member_may_come_back_with_a_lower_generation(
    store: RedisStateStore, key: str
) -> None:
    await store.acquire(key, 5, "a", 1_000)
    assert isinstance(await store.acquire(key, 1, "a", 1_001), Acquired)


@on_every_store
async def test_a_released_partition_is_free_for_any_generation(
    store: RedisStateStore, key: str
) -> None:
    first = await store.acquire(key, 5, "a", 10**9)
    assert isinstance(first, Acquired)
    assert await store.release(key, first.fencing_token)
    second = await store.acquire(key, 1, "b", 10**9)
    assert isinstance(second, Acquired)
    assert second.attempts == 1
    assert not await store.release(key, first.fencing_token)


@on_every_store
async def test_acquisitions_at_one_offset_are_counted_until_it_moves(
    store: RedisStateStore, key: str
) -> None:
    for member, attempts in (("a", 1), ("b", 2), ("b", 2), ("c", 3)):
        acquired = await take(store, key, member=member)
        assert acquired.attempts == attempts
    await store.commit(key, write(acquired.fencing_token, None, 10))
    assert [(await take(store, key, member=m)).attempts for m in "de"] == [1, 2]


@on_every_store
async def test_single_attempts_and_chunked_commits_are_known_to_the_next_owner(
    store: RedisStateStore, key: str
) -> None:
    acquired = await take(store, key)
    assert acquired.last_attempt is None
    assert not acquired.chunked
    marks = {ATTEMPT_FIELD: AttemptMarker(9, 2).encoded(), CHUNKED_FIELD: b"1"}
    await store.commit(key, write(acquired.fencing_token, None, 9, **marks))
    acquired = await take(store, key)
    assert acquired.last_attempt == AttemptMarker(9, 2)
    assert acquired.chunked
    assert await store.load(key) == {}


@on_every_store
async def test_the_same_transaction_sent_again_is_recognised(
    store: RedisStateStore, key: str
) -> None:
    fencing_token = (await take(store, key)).fencing_token
    commit = Commit(fencing_token, "t", None, 7, 1_000, {"s:x": b"1"})
    assert (await store.commit(key, commit)).outcome is CommitOutcome.OK
    assert (await store.commit(key, commit)).outcome is CommitOutcome.DUP
    assert await store.load(key) == {"s:x": b"1"}


@on_every_store
async def test_a_former_owner_is_fenced(store: RedisStateStore, key: str) -> None:
    old = (await take(store, key)).fencing_token
    await take(store, key, generation=2, member="b")
    commit = write(old, None, 7, **{"s:x": b"1"})
    assert (await store.commit(key, commit)).outcome is CommitOutcome.FENCED
    assert await store.load(key) == {}


@on_every_store
async def test_a_store_rewound_to_chunks_at_the_same_offset_rejects_commits_over_them(
    store: RedisStateStore, key: str
) -> None:
    """They would win over what is written now: the owner has to read and spread them again."""
    fencing_token = (await take(store, key)).fencing_token
    large = write(fencing_token, None, 7, **{"b:0": b"old", CHUNKED_FIELD: b"1"})
    assert (await store.commit(key, large)).outcome is CommitOutcome.OK
    next_one = write(fencing_token, 7, 9, s=b"new")
    assert (await store.commit(key, next_one)).outcome is CommitOutcome.STALE
    assert await store.load(key) == {"b:0": b"old"}
    spread = write(fencing_token, 7, 7, **{"b:0": b"", CHUNKED_FIELD: b""})._replace(chunked=True)
    assert (await store.commit(key, spread)).outcome is CommitOutcome.OK
    assert (await store.commit(key, next_one)).outcome is CommitOutcome.OK
    late = write(fencing_token, 9, 9, s=b"old")._replace(chunked=True)
    assert (await store.commit(key, late)).outcome is CommitOutcome.STALE


@on_every_store
async def test_a_commit_from_another_offset_is_stale_and_writes_nothing(
    store: RedisStateStore, key: str
) -> None:
    fencing_token = (await take(store, key)).fencing_token
    await store.commit(key, write(fencing_token, None, 10, **{"s:x": b"1"}))
    for expect in (None, 9, 11):
        commit = write(fencing_token, expect, 20, **{"s:x": b"2"})
        stale = await store.commit(key, commit)
        assert stale.outcome is CommitOutcome.STALE
        assert stale.detail == "10"
    assert await store.load(key) == {"s:x": b"1"}


@on_every_store
async def test_a_sweep_removes_only_own_fields_that_are_still_empty(
    store: RedisStateStore, key: str
) -> None:
    fencing_token = (await take(store, key)).fencing_token
    fields = {"s:dead": b"", "s:back": b"", "s:alive": b"1"}
    await store.commit(key, write(fencing_token, None, 1, **fields))
    await store.commit(key, write(fencing_token, 1, 2, **{"s:back": b"2"}))
    assert await store.sweep(key, "another", list(fields)) == 0
    assert await store.sweep(key, fencing_token, [*fields, "s:never"]) == 1
    assert await store.load(key) == {"s:back": b"2", "s:alive": b"1"}
    assert await store.sweep(key, fencing_token, []) == 0


@on_every_store
async def test_published_outbox_entries_are_discarded(store: RedisStateStore, key: str) -> None:
    fencing_token = (await take(store, key)).fencing_token
    await store.commit(key, write(fencing_token, None, 1, **{"o:a:1": b"1", "o:a:2": b"2"}))
    await store.discard(key, ["o:a:1", "o:a:never"])
    await store.discard(key, [])
    assert await store.load(key) == {"o:a:2": b"2"}
    assert await store.outbox(key) == {"o:a:2": b"2"}
    await store.commit(key, write(fencing_token, 1, 2, **{"s:part": b"state"}))
    assert await store.outbox(key) == {"o:a:2": b"2"}
    assert await store.outbox(key + "x") == {}


@on_every_store
async def test_a_commit_of_the_largest_size_fits_and_a_larger_one_is_an_error(
    store: RedisStateStore, key: str
) -> None:
    fencing_token = (await take(store, key)).fencing_token
    fields = {f"s:{i}": b"x" for i in range(MAX_PAIRS)}
    assert (
        await store.commit(key, write(fencing_token, None, 1, **fields))
    ).outcome is CommitOutcome.OK
    assert len(await store.load(key)) == MAX_PAIRS
    with pytest.raises(CommitTooLarge, match="3501 changed fields"):
        await store.commit(key, write(fencing_token, 1, 2, **fields, **{"s:more": b"x"}))


@on_every_store
async def test_quarantine_renames_state_and_the_partition_starts_empty(
    store: RedisStateStore, key: str
) -> None:
    fencing_token = (await take(store, key)).fencing_token
    await store.commit(key, write(fencing_token, None, 5, **{"s:x": b"1"}))
    aside = await store.quarantine(key, 42)
    assert await store.load(aside) == {"s:x": b"1"}
    assert (await take(store, key)).next is None
    await store.quarantine(f"{key}-never", 42)


@on_every_store
async def test_a_store_fit_for_state_passes_its_check(store: RedisStateStore, key: str) -> None:
    assert await store.check([key]) is None
    await store.ping()


@on_every_store
async def test_a_stop_is_recorded_for_the_owner_only_and_ends_with_the_next_one(
    store: RedisStateStore, key: str
) -> None:
    first = await take(store, key)
    assert not await store.stop(key, "another epoch", "why")
    assert await store.stop(key, first.fencing_token, "too many rejected records")
    assert await store.load(key) == {}
    await take(store, key, generation=2)
    assert not await store.stop(key, first.fencing_token, "late")


async def published(store: RedisStateStore, name: str) -> bytes:
    """What dashboards read."""
    if isinstance(store, InMemoryStateStore):
        return store.windows[name][0]
    assert 0 < await store._redis.pttl(name) <= TTL_MS
    found = await store._redis.get(name)
    assert isinstance(found, bytes)
    return found


@on_every_store
async def test_figures_of_a_window_are_replaced_by_later_ones_only(
    store: RedisStateStore, key: str
) -> None:
    """A worker that was paused writes figures that others have long replaced."""
    for offset, kept in ((7, 7), (9, 9), (8, 9), (9, 9), (12, 12)):
        await store.publish_performance(key, b'{"as_of_offset":%d}' % offset, offset, TTL_MS)
        assert await published(store, key) == b'{"as_of_offset":%d}' % kept
