"""Publishes the outbox: alerts to Kafka, windows and performance to Redis; then removes it.

An entry is removed from the store only after its destination has acknowledged it.  After a crash in
between it is published again with the same id, and also after a store has lost the removal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
import structlog
from confluent_kafka import KafkaException

from producer.failpoints import failpoint
from stream_monitor.contracts import DriftAlert
from stream_monitor.metrics import Metrics
from stream_monitor.runtime.outbound_records import alert_headers
from stream_monitor.runtime.publisher import Publisher
from stream_monitor.state.partition_state import ALERT, PERFORMANCE, WINDOW
from stream_monitor.state.redis_store import RedisStateStore
from stream_monitor.state.store import StoreUnavailable
from stream_monitor.state_parts import CorruptState

log = structlog.get_logger(__name__)

_RETRY_S: Final = 1.0
_AT_ONCE: Final = 500
"""Entries per round; it bounds the unacknowledged records."""


class OutboxRelay:
    """Publishes the outbox entries of all partitions of a worker."""

    def __init__(
        self,
        store: RedisStateStore,
        publisher: Publisher,
        metrics: Metrics,
        *,
        topic: str,
        window_ttl_ms: int,
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._metrics = metrics
        self._topic = topic
        self._window_ttl_ms = window_ttl_ms
        self._pending: dict[str, dict[str, bytes]] = {}
        self._orphaned: dict[str, frozenset[str]] = {}
        self._published: set[str] = set()
        """Alerts that Kafka has acknowledged and the store could not remove yet."""
        self._kick = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    def add(self, key: str, entries: Mapping[str, bytes]) -> None:
        """Add committed entries of a partition's outbox."""
        if entries:
            self._pending.setdefault(key, {}).update(entries)
            self._empty.clear()
            self._kick.set()

    def forget(self, key: str) -> None:
        """Forget a partition; its next owner finds the remaining entries in the store."""
        self._orphaned.pop(key, None)
        self._remove(key)

    def _remove(self, key: str) -> None:
        self._pending.pop(key, None)
        if not self._pending:
            self._empty.set()

    async def publish_orphaned(self, keys: Iterable[str]) -> None:
        """Publish stored entries that were not added to the relay.

        A store that lost its last seconds may hold entries that were published and removed, at an
        unchanged offset, so that no commit fails.  An entry that is unknown in two checks running
        was not just committed.

        Raises:
            CorruptState: an alert cannot be decoded.
        """
        for key in keys:
            try:
                stored = await self._store.outbox(key)
            except StoreUnavailable:
                return
            idle = stored.keys() - self._pending.get(key, {}).keys()
            orphaned = idle & self._orphaned.get(key, frozenset())
            self._orphaned[key] = frozenset(idle)
            if orphaned:
                log.info("publishing orphaned outbox entries", key=key, entries=len(orphaned))
                self.add(key, sort_outbox({field: stored[field] for field in orphaned}))

    async def flush(self) -> None:
        """Wait until all added entries are published."""
        await self._empty.wait()

    async def run(self) -> None:
        """Publish entries until cancelled."""
        while True:
            await self._kick.wait()
            self._kick.clear()
            while self._pending:
                try:
                    await self._round()
                except (KafkaException, StoreUnavailable) as error:
                    log.warning("outbox not published; retrying", error=str(error))
                    self._metrics.store_errors.inc(isinstance(error, StoreUnavailable))
                    await asyncio.sleep(_RETRY_S)

    async def _round(self) -> None:
        key, entries = next(iter(self._pending.items()))
        some = dict(list(entries.items())[:_AT_ONCE])
        failpoint("monitor.outbox.taken")
        alerts = {f: v for f, v in some.items() if f.startswith(ALERT)}
        await self._publish_alerts({f: v for f, v in alerts.items() if f not in self._published})
        self._published = set(alerts)
        await self._publish_windows({f: v for f, v in some.items() if f.startswith(WINDOW)})
        await self._publish_performance(
            {f: v for f, v in some.items() if f.startswith(PERFORMANCE)}
        )
        failpoint("monitor.outbox.published")
        await self._store.discard(key, list(some))
        self._published.clear()
        for field, value in some.items():
            if entries.get(field) is value:  # not replaced meanwhile
                del entries[field]
        if not entries and self._pending.get(key) is entries:
            self._remove(key)

    async def _publish_alerts(self, entries: Mapping[str, bytes]) -> None:
        acknowledged: list[asyncio.Future[None]] = []
        for value in entries.values():
            alert = msgspec.json.decode(value, type=DriftAlert)
            acknowledged.append(
                await self._publisher.publish(
                    self._topic, key=alert.model.encode(), value=value, headers=alert_headers(alert)
                )
            )
        await asyncio.gather(*acknowledged)
        self._metrics.published.labels("alert").inc(len(entries))

    async def _publish_windows(self, entries: Mapping[str, bytes]) -> None:
        for field, value in entries.items():
            await self._store.publish_window(field.removeprefix(WINDOW), value, self._window_ttl_ms)
        self._metrics.published.labels("window").inc(len(entries))

    async def _publish_performance(self, entries: Mapping[str, bytes]) -> None:
        for field, value in entries.items():
            offset, _, key = field.removeprefix(PERFORMANCE).partition(":")
            await self._store.publish_performance(key, value, int(offset), self._window_ttl_ms)
        self._metrics.published.labels("performance").inc(len(entries))


def sort_outbox(outbox: Mapping[str, bytes]) -> dict[str, bytes]:
    """Entries of a stored outbox, with the alerts in the order of their decision.

    Raises:
        CorruptState: an alert cannot be decoded.
    """

    def sort_key(entry: tuple[str, bytes]) -> tuple[int, str]:
        field, value = entry
        if not field.startswith(ALERT):
            return (0, field)
        try:
            alert = msgspec.json.decode(value, type=DriftAlert)
        except (msgspec.MsgspecError, ValueError) as error:
            raise CorruptState(f"{field}: {error}") from error
        if field != f"{ALERT}{alert.alert_id}":
            raise CorruptState(f"{field} holds another alert: {alert.alert_id}")
        return (alert.decided_offset, field)

    return dict(sorted(outbox.items(), key=sort_key))
