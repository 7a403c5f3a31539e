"""The Faust application of a worker: one agent, the transport, and the periodic tasks."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar, cast

import faust
import structlog
from confluent_kafka import KafkaException
from faust.app.base import BootStrategy

from producer.permission import PERMISSIONS_FIX, is_denied
from producer.routing import METADATA_REFRESH_MS
from stream_monitor.ingest.records import RecordBatch
from stream_monitor.runtime import open_transactions as transactions
from stream_monitor.runtime.bootstrap import Components, build
from stream_monitor.runtime.credentials import faust_credentials
from stream_monitor.runtime.health_reporter import CHECK_INTERVAL_S as HEALTH_EVERY_S
from stream_monitor.runtime.memory import TRIM_EVERY_S, trim_heap
from stream_monitor.runtime.processor import COMMIT_CHECK_INTERVAL_S
from stream_monitor.runtime.ticker import CHECK_INTERVAL_S
from stream_monitor.runtime.topology_reconciler import CHECK_INTERVAL_S as TOPOLOGY_EVERY_S
from stream_monitor.runtime.transport import EventTopicConsumer, EventTopicTransport
from stream_monitor.runtime.watchdog import PartitionProgress
from stream_monitor.runtime.worker_heartbeat_writer import HEARTBEAT_INTERVAL_S, OWNERSHIP_CHECK_S
from stream_monitor.settings import Settings
from stream_monitor.state.partition_state import PartitionStateFactory
from stream_monitor.state.redis_store import RedisStateStore
from stream_monitor.state.store import StoreMisconfigured
from stream_monitor.web import PortInUse, WebServer

log = structlog.get_logger(__name__)

T = TypeVar("T")
DEFAULT_PORT: Final = 8775
ANSWER_S: Final = 10.0
"""An HTTP request gets 503 after this time, because the event loop does not run."""
BATCHES_AHEAD: Final = 4
"""Batches that wait for the agent; it bounds memory, and what is read again after a rebalance."""
RETRY_EVERY_S: Final = 0.5
OUTBOX_EVERY_S: Final = 5.0
ADVISORY_COMMIT_INTERVAL_S: Final = 5.0
ADVISORY_COMMIT_TIMEOUT_S: Final = 5.0
LAG_EVERY_S: Final = 1.0
STOP_S: Final = 15.0
"""A worker that has not stopped after this time is ended."""


class Boot(BootStrategy):
    """The boot strategy of Faust, without its web server and its producer."""

    enable_web = False
    enable_kafka_producer = False


class MonitorApp(faust.App):
    """A worker of the monitor."""

    BootStrategy = Boot
    logger = logging.getLogger("faust.app")
    components: Components

    def __init__(
        self, settings: Settings, state_factory: PartitionStateFactory, store: RedisStateStore
    ) -> None:
        kafka = settings.kafka
        super().__init__(
            settings.topics.group,
            broker=[f"kafka://{address}" for address in kafka.addresses()],
            broker_credentials=faust_credentials(kafka.librdkafka),
            store="memory://",
            autodiscover=False,
            broker_session_timeout=kafka.session_timeout_s,
            broker_request_timeout=max(90.0, 1.5 * kafka.session_timeout_s),  # Faust requires more
            broker_heartbeat_interval=kafka.heartbeat_s,
            broker_rebalance_timeout=kafka.rebalance_timeout_s,
            broker_max_poll_interval=kafka.max_poll_interval_s,
            consumer_metadata_max_age_ms=METADATA_REFRESH_MS,  # finds new partitions
            consumer_auto_offset_reset="earliest",
            consumer_group_instance_id=kafka.group_instance_id,
            stream_wait_empty=False,  # Faust tracks no acknowledgements; `revoke_all` waits
            table_standby_replicas=0,  # the default 1 selects Faust's sticky assignor
            topic_allow_declare=False,
            topic_disable_leader=True,
            worker_redirect_stdouts=False,
        )
        self.event_topic = settings.topics.events
        self.failure: BaseException | None = None
        self._settings = settings
        self._state_factory = state_factory
        self._store = store
        self._web: WebServer | None = None
        self.batches = self.channel(maxsize=BATCHES_AHEAD)
        self.topics.add(
            self.topic(self.event_topic, key_serializer="raw", value_serializer="raw", acks=False)
        )
        self.agent(self.batches, name="log")(self._on_batches)
        self.on_partitions_revoked.connect(self._on_revoked)

    async def on_start(self) -> None:
        """Build the components inside the event loop, before the consumer joins the group."""
        self.components = build(self._settings, self._state_factory, self._store)
        self._serve()
        self.components.watchdog.start()
        self.add_future(self._watched(self.components.relay.run))
        self._every(COMMIT_CHECK_INTERVAL_S, self.components.processor.commit_due)
        self._every(COMMIT_CHECK_INTERVAL_S, self.components.guarded_fetch.fetch_due)
        self._every(RETRY_EVERY_S, self.components.ownership.retry)
        self._every(CHECK_INTERVAL_S, self.components.ticker.append_due)
        self._every(TOPOLOGY_EVERY_S, self.components.topology.reconcile)
        self._every(OUTBOX_EVERY_S, self.components.publish_orphaned)
        self._every(LAG_EVERY_S, self._report_lag)
        self._every(ADVISORY_COMMIT_INTERVAL_S, self._commit_advisory)
        self._every(HEALTH_EVERY_S, self.components.health.check)
        await self.components.heartbeat_writer.write()
        self._every(HEARTBEAT_INTERVAL_S, self.components.heartbeat_writer.write)
        self._every(OWNERSHIP_CHECK_S, self.components.heartbeat_writer.write_if_changed)
        self._every(transactions.CHECK_INTERVAL_S, self._look_for_transactions)
        self._every(TRIM_EVERY_S, trim_heap)
        await super().on_start()

    async def on_stop(self) -> None:
        """Give up all partitions, leave the group, close the components."""
        exit_after(STOP_S)
        self.components.watchdog.stop()
        await self.components.revoke_all()
        await super().on_stop()
        await self.components.heartbeat_writer.remove()
        await self.components.close()
        if self._web is not None:
            await asyncio.to_thread(self._web.close)

    @property
    def accepts_batches(self) -> bool:
        """Whether a batch can be passed to the agent without waiting."""
        subscribers = cast("Any", self.batches)._subscribers  # noqa: SLF001
        return not any(subscriber.queue.full() for subscriber in subscribers)

    async def fail(self, error: BaseException) -> None:
        """End the process after an error; a supervisor is expected to start it again."""
        if self.failure is None:
            self.failure = error
            if isinstance(error, StoreMisconfigured):  # its text names the fix
                log.critical(str(error))
            elif isinstance(error, KafkaException) and is_denied(error.args[0]):
                why = error.args[0].str()
                log.critical("Kafka denies a permission", why=why, fix=PERMISSIONS_FIX)
            else:
                log.critical("worker failed", error=repr(error), exc_info=error)
            exit_after(STOP_S)
            await self.crash(error)

    def _serve(self) -> None:
        web = self._settings.web
        if not web.enabled:
            return
        try:
            self._web = WebServer(
                web,
                "web",
                DEFAULT_PORT,
                health=_in_this_loop(self._alive),
                readiness=_in_this_loop(self.components.readiness),
                metrics=_in_this_loop(self._metrics_text),
            )
        except PortInUse as error:
            self.failure = error
            log.critical(str(error))
            raise
        self.components.heartbeat_writer.web = self._web.address
        log.info("listening", address=self._web.address)

    async def _alive(self) -> dict[str, Any]:
        return {"alive": True}  # the event loop has run

    async def _metrics_text(self) -> bytes:
        return self.components.metrics.text()  # they read the state, which only the loop changes

    async def _on_batches(self, stream: Any) -> None:
        async for batch in stream:
            await self._watched(functools.partial(self._on_batch, batch))
            await asyncio.sleep(0)

    async def _on_batch(self, batch: RecordBatch) -> None:
        elsewhere = await self.components.processor.on_batch(batch)
        if elsewhere is not None:
            await self.components.ownership.reposition(elsewhere)

    async def _on_revoked(self, *_: Any, **__: Any) -> None:
        await self.components.revoke_all()

    async def _report_lag(self) -> None:
        readings: dict[int, PartitionProgress] = {}
        lags = await self.components.reader.lags() | self.components.guarded_fetch.lags()
        for partition, lag in lags.items():
            owned = self.components.partitions.get(partition)
            if owned is not None:
                self.components.metrics.lag.labels(self.event_topic, str(partition)).set(lag)
                readings[partition] = PartitionProgress(owned.position, lag)
        self.components.watchdog.record(readings)

    async def _commit_advisory(self) -> None:
        offsets = {o.partition: o.committed for o in self.components.partitions if o.committed}
        await cast("EventTopicConsumer", self.consumer).commit_advisory(
            offsets, ADVISORY_COMMIT_TIMEOUT_S
        )

    async def _look_for_transactions(self) -> None:
        owned = [owned.partition for owned in self.components.partitions]
        await self.components.transactions.check(owned)

    def _every(self, seconds: float, action: Callable[[], Awaitable[None]]) -> None:
        async def repeat() -> None:
            while not self.should_stop:
                await asyncio.sleep(seconds)
                await action()

        self.add_future(self._watched(repeat))

    async def _watched(self, action: Callable[[], Awaitable[None]]) -> None:
        try:
            await action()
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - a panic of River's Rust is not an Exception
            await self.fail(error)

    def _new_transport(self) -> EventTopicTransport:
        return EventTopicTransport(self.conf.broker_consumer, self)

    def _create_directories(self) -> None:
        """Faust keeps tables in them; this application has none."""

    async def _producer_flush(self, logger: Any) -> None:
        """Faust's producer is not started."""


def _in_this_loop(ask: Callable[[], Coroutine[Any, Any, T]]) -> Callable[[], T]:
    """A function for other threads that runs ``ask`` in the event loop of the caller."""
    loop = asyncio.get_running_loop()
    return lambda: asyncio.run_coroutine_threadsafe(ask(), loop).result(ANSWER_S)


def exit_after(seconds: float) -> None:
    """End the process after a time, so that a stop that hangs holds no partitions."""

    def end() -> None:
        log.critical("did not stop in time", seconds=seconds)
        os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
