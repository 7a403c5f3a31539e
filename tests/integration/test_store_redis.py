"""What only a real Redis shows: keys expire, writes fail, memory fills up, replies stop."""

from __future__ import annotations

import contextlib
import re
import uuid
from collections.abc import AsyncIterator, Iterator
from importlib.resources import files
from typing import Any

import pytest
import redis as sync_redis

from stream_monitor.state.redis_store import RedisStateStore, partition_key
from stream_monitor.state.store import (
    Acquired,
    Commit,
    CommitOutcome,
    StoreMisconfigured,
    StoreUnavailable,
)
from tests.event_loop import in_event_loop


@in_event_loop
async def test_windows_are_readable_and_expire(redis_url: str) -> None:
    store = RedisStateStore(redis_url)
    name = f"window-{uuid.uuid4().hex}"
    try:
        await store.publish_window(name, b"{}", 60_000)
    finally:
        await store.close()
    with sync_redis.Redis.from_url(redis_url) as client:
        assert client.get(name) == b"{}"
        assert 0 < int(str(client.pttl(name))) <= 60_000


@pytest.fixture
def evicting(redis_url: str) -> Iterator[str]:
    with sync_redis.Redis.from_url(redis_url) as client:
        before: Any = client.config_get("maxmemory-policy")
        client.config_set("maxmemory-policy", "allkeys-lru")
        yield redis_url
        client.config_set("maxmemory-policy", before["maxmemory-policy"])


@in_event_loop
async def test_a_redis_that_may_evict_state_is_rejected(evicting: str) -> None:
    store = RedisStateStore(evicting)
    try:
        with pytest.raises(StoreMisconfigured, match="allkeys-lru"):
            await store.check()
    finally:
        await store.close()


@contextlib.asynccontextmanager
async def acquired(
    url: str, fields: dict[str, bytes]
) -> AsyncIterator[tuple[RedisStateStore, sync_redis.Redis, str, Commit]]:
    """A partition of its own, and a first commit of it that is not sent yet."""
    key = partition_key(f"rejecting-{uuid.uuid4().hex}", 0)
    store = RedisStateStore(url)
    with sync_redis.Redis.from_url(url) as client:
        try:
            taken = await store.acquire(key, 1, "a", 1_000)
            assert isinstance(taken, Acquired)
            yield store, client, key, Commit(taken.fencing_token, "t", None, 5, 1_000, fields)
        finally:
            await store.close()


@pytest.fixture
def full(redis_url: str) -> Iterator[str]:
    with sync_redis.Redis.from_url(redis_url) as client:
        before: Any = client.config_get("maxmemory")
        yield redis_url
        client.config_set("maxmemory", before["maxmemory"])


@in_event_loop
async def test_a_full_redis_writes_nothing_and_takes_the_same_commit_later(full: str) -> None:
    async with acquired(full, {"s:x": b"1" * 1000}) as (store, client, key, commit):
        client.config_set("maxmemory", 1)
        assert (await store.commit(key, commit)).outcome is CommitOutcome.OUT_OF_MEMORY
        client.config_set("maxmemory", 0)
        assert await store.load(key) == {}
        assert (await store.commit(key, commit)).outcome is CommitOutcome.OK


@pytest.fixture
def replica(redis_url: str) -> Iterator[str]:
    with sync_redis.Redis.from_url(redis_url) as client:
        yield redis_url
        client.replicaof("NO", "ONE")


@in_event_loop
async def test_a_read_only_redis_writes_nothing_and_takes_the_same_commit_later(
    replica: str,
) -> None:
    async with acquired(replica, {"s:x": b"1"}) as (store, client, key, commit):
        client.replicaof("127.0.0.1", "1")  # of no server
        assert (await store.commit(key, commit)).outcome is CommitOutcome.UNKNOWN
        with pytest.raises(StoreUnavailable):
            await store.publish_window(key, b"{}", 1_000)
        with pytest.raises(StoreUnavailable):
            await store.discard(key, ["o:a:1"])
        client.replicaof("NO", "ONE")
        assert (await store.commit(key, commit)).outcome is CommitOutcome.OK


@in_event_loop
async def test_a_silent_redis_leaves_the_outcome_unknown() -> None:
    store = RedisStateStore("redis://127.0.0.1:1/0", timeout_s=1)
    try:
        commit = Commit("e", "t", None, 1, 0, {})
        assert (await store.commit("k", commit)).outcome is CommitOutcome.UNKNOWN
    finally:
        await store.close()


def test_no_script_writes_twice_and_nothing_uses_multi() -> None:
    package = files("stream_monitor.state")
    for script in package.joinpath("scripts").iterdir():
        code = [line.split("--")[0] for line in script.read_text("utf-8").splitlines()]
        writes = [line for line in code if re.search(r"'(HSET|HDEL|SET)'", line)]
        # the commit has two branches of one write each
        assert len(writes) == (2 if script.name == "commit.lua" else 1), script.name
    assert "pipeline(" not in package.joinpath("redis_store.py").read_text("utf-8")
