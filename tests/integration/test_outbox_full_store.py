"""A store that rejects the removal of published entries causes no second publication."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

import msgspec
import pytest

from stream_monitor.metrics import Metrics
from stream_monitor.runtime import outbox as relay
from stream_monitor.runtime.outbox import OutboxRelay
from stream_monitor.runtime.publisher import Publisher
from stream_monitor.state.partition_state import ALERT
from stream_monitor.state.redis_store import RedisStateStore
from stream_monitor.state.store import StoreUnavailable
from tests.chaos.simulation import Topic
from tests.integration.counting_worker import alert

REJECTIONS = 5


class Full(RedisStateStore):
    """Out of memory for some writes."""

    rejections = REJECTIONS

    async def discard(self, key: str, fields: Sequence[str]) -> None:
        if self.rejections:
            self.rejections -= 1
            raise StoreUnavailable("OOM command not allowed")
        await super().discard(key, fields)


def test_an_alert_is_published_once_while_the_store_is_full(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "_RETRY_S", 0.0)
    topic = Topic()
    alerts = [alert("log", 0, offset) for offset in range(3)]
    entries = {f"{ALERT}{one.alert_id}": msgspec.json.encode(one) for one in alerts}

    async def carried_out() -> int:
        store = Full(redis_url, owner_timeout_ms=0)
        carrier = OutboxRelay(
            store, cast("Publisher", topic), Metrics(), topic="alerts", window_ttl_ms=1
        )
        carrier.add("{driftline:relay-rejected}", entries)
        running = asyncio.create_task(carrier.run())
        await carrier.flush()
        running.cancel()
        await store.close()
        return store.rejections

    assert asyncio.run(carried_out()) == 0
    assert sorted(topic.ids) == sorted(one.alert_id for one in alerts)
