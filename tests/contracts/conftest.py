"""Every store there is, and a way to run a rule on it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from stream_monitor.state.redis_store import RedisStateStore, partition_key
from tests.memory_store import InMemoryStateStore

OWNER_TIMEOUT_MS = 30_000


@pytest.fixture(params=["memory", "redis"])
def open_store(request: pytest.FixtureRequest) -> Callable[[], RedisStateStore]:
    if request.param == "memory":
        store = InMemoryStateStore(OWNER_TIMEOUT_MS)
        return lambda: store
    url: str = request.getfixturevalue("redis_url")
    return lambda: RedisStateStore(url, owner_timeout_ms=OWNER_TIMEOUT_MS)


@pytest.fixture
def key() -> str:
    return partition_key(f"contract-{uuid.uuid4().hex}", 0)


Run = Callable[[Callable[[RedisStateStore], Coroutine[Any, Any, None]]], None]


@pytest.fixture
def run(open_store: Callable[[], RedisStateStore]) -> Run:
    """Runs a rule on a store, in a loop of its own."""

    def runner(rule: Callable[[RedisStateStore], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            store = open_store()
            try:
                await rule(store)
            finally:
                await store.close()

        asyncio.run(main())

    return runner
