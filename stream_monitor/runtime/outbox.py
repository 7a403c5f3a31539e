"""Carries the outbox out: alerts to Kafka, windows and their figures to Redis, then clears it.

An entry leaves the store only after it was acknowledged where it belongs.  A crash in between
publishes it again, under the same id; so does a store that forgot a removal.
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
from stream_monitor.errors import CorruptState
from stream_monitor.metrics import Metrics
from stream_monitor.runtime.outbound_records import alert_headers
from stream_monitor.runtime.publisher import Publisher
from stream_monitor.state.partition_state import ALERT, PERFORMANCE, WINDOW
from stream_monitor.state.store import StateStore, StoreUnavailable

log = structlog.get_logger(__name__)

_RETRY_S: Final = 1.0
_AT_ONCE: Final = 500
"""Entries a round: bounds what is under way."""


class OutboxRelay:
    """One relay for all partitions of a worker."""

    def __init__(
        self,
        store: StateStore,
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
        """Alerts that Kafka has and the store still lists: it may refuse for long."""
        self._kick = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    def add(self, key: str, entries: Mapping[str, bytes]) -> None:
        """Entries of a partition's outbox that are committed."""
        if entries:
            self._pending.setdefault(key, {}).update(entries)
            self._empty.clear()
            self._kick.set()

    def forget(self, key: str) -> None:
        """The partition has another owner, who finds what is left in the store."""
        self._orphaned.pop(key, None)
        self._remove(key)

    def _remove(self, key: str) -> None:
        self._pending.pop(key, None)
        if not self._pending:
            self._empty.set()

    async def publish_orphaned(self, keys: Iterable[str]) -> None:
        """Take up entries that lie in the store and that nobody carries out.

        A store that lost its last seconds may hold what was published and removed, at an offset
        that nobody moved: no commit would ever tell.  What is seen so in two looks running is no
        entry on its way.

        Raises:
            CorruptState: an alert does not read back.
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
                log.info("found in the outbox again", key=key, entries=len(orphaned))
                self.add(key, sort_outbox({field: stored[field] for field in orphaned}))

    async def flush(self) -> None:
        """Wait until everything that was added is out."""
        await self._empty.wait()

    async def run(self) -> None:
        """Carry entries out until cancelled."""
        while True:
            await self._kick.wait()
            self._kick.clear()
            while self._pending:
                try:
                    await self._round()
                except (KafkaException, StoreUnavailable) as error:
                    log.warning("outbox not published, trying again", error=str(error))
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
    """Entries found in the store, alerts in the order they were decided.

    Raises:
        CorruptState: an alert does not read back.
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
