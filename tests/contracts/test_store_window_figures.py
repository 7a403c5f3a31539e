"""Every store keeps the latest figures of a window, in whatever order they are written."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis import Redis

from stream_monitor.state.redis_store import RedisStateStore
from tests.contracts.conftest import Run
from tests.memory_store import InMemoryStateStore

TTL_MS = 60_000


@pytest.fixture
def published(request: pytest.FixtureRequest) -> Callable[[RedisStateStore, str], bytes | None]:
    """Reads what dashboards read."""

    def read(store: RedisStateStore, name: str) -> bytes | None:
        if isinstance(store, InMemoryStateStore):
            return store.windows[name][0]
        with Redis.from_url(request.getfixturevalue("redis_url")) as client:
            assert 0 < int(str(client.pttl(name))) <= TTL_MS
            found = client.get(name)
            assert found is None or isinstance(found, bytes)
            return found

    return read


def test_figures_of_a_window_are_replaced_by_later_ones_only(
    run: Run, key: str, published: Callable[[RedisStateStore, str], bytes | None]
) -> None:
    """A worker that was paused writes figures that others have long replaced."""

    async def rule(store: RedisStateStore) -> None:
        for offset, kept in ((7, 7), (9, 9), (8, 9), (9, 9), (12, 12)):
            await store.publish_performance(key, b'{"as_of_offset":%d}' % offset, offset, TTL_MS)
            assert published(store, key) == b'{"as_of_offset":%d}' % kept

    run(rule)
