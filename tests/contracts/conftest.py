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


def on_every_store(
    rule: Callable[[RedisStateStore, str], Coroutine[Any, Any, None]],
) -> Callable[[Callable[[], RedisStateStore], str], None]:
    """The test of a rule about a store and a key; it runs in a loop of its own."""

    def test(open_store: Callable[[], RedisStateStore], key: str) -> None:
        async def main() -> None:
            store = open_store()
            try:
                await rule(store, key)
            finally:
                await store.close()

        asyncio.run(main())

    test.__doc__ = rule.__doc__
    return test
