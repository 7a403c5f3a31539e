"""Connects Faust's group membership with the reader: overrides two methods of its consumer.

Faust calls `EventTopicConsumer.perform_seek` after every assignment, and runs `_drain_messages` in
its fetcher.  aiokafka's own fetching is paused before it begins.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, cast

from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from confluent_kafka import KafkaException
from faust.transport.drivers import aiokafka as driver

from producer.failpoints import failpoint
from producer.permission import is_denied
from stream_monitor.ingest.records import RecordBatch

if TYPE_CHECKING:
    from stream_monitor.runtime.app import MonitorApp

IDLE_S: Final = 0.02
"""Time between checks while the flow is stopped or no partition is owned."""


class PausingListener(driver.ConsumerRebalanceListener):
    """Pauses aiokafka's fetching of newly assigned partitions."""

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Runs in aiokafka's thread, before it fetches."""
        self._thread._ensure_consumer().pause(*assigned)  # noqa: SLF001
        await super().on_partitions_assigned(assigned)


class EventTopicConsumer(driver.Consumer):
    """Faust's consumer: a member of the group whose records the worker's reader fetches."""

    logger = logging.getLogger("faust.consumer")
    RebalanceListener = PausingListener
    _processed_s = 0.0

    @property
    def monitor(self) -> MonitorApp:
        """The application, under its own type."""
        return cast("MonitorApp", self.app)

    async def perform_seek(self) -> None:
        """Acquire the assigned partitions; their positions and state come from the store.

        It takes much less than Faust's request timeout, after which Faust would stop.
        """
        assigned = {
            tp.partition for tp in self.assignment() if tp.topic == self.monitor.event_topic
        }
        generation = int(self.monitor.consumer_generation_id or 0)
        await self.monitor.components.ownership.take(assigned, generation)

    def verify_event_path(self, now: float, tp: Any) -> None:
        """Do nothing: Faust would warn that aiokafka does not fetch."""

    async def _drain_messages(self, fetcher: Any) -> None:
        with contextlib.suppress(asyncio.CancelledError):  # Faust would report a crash
            while not (self._stopped.is_set() or fetcher._stopped.is_set()):  # noqa: SLF001
                self._still_polling()
                await self._round()

    async def _round(self) -> None:
        components = self.monitor.components
        if not self.flow_active or not len(components.partitions):
            await asyncio.sleep(IDLE_S)
            return
        try:
            n_versions = sum(owned.partition_state.n_versions for owned in components.partitions)
            before_s, self._processed_s = self._processed_s, components.processor.processed_s
            spent_s = self._processed_s - before_s
            batches, failures = await components.reader.read(n_versions, spent_s)
        except KafkaException as error:
            if not is_denied(error.args[0]):
                raise
            await self.monitor.fail(error)  # Faust would log a traceback
            return
        for failure in failures:
            await components.on_read_failure(failure)
        for batch in batches:
            failpoint("monitor.batch.read")
            components.topology.observe_keys(batch)
            await self._hand_over(batch)

    def _still_polling(self) -> None:
        """Report a fetch to aiokafka: it leaves the group after ``max_poll_interval`` without one.

        A worker that hangs in a batch stops reporting and so loses its partitions.
        """
        consumer = self._thread._consumer  # noqa: SLF001
        if consumer is not None:
            with consumer._subscription.fetch_context():  # noqa: SLF001
                pass

    async def _hand_over(self, batch: RecordBatch) -> None:
        """Pass a batch to the agent; drop it if the flow stops, for it is then read again.

        Where the queue is not full it is passed at once, so that the next read begins before the
        agent processes this batch: the reader's thread reads meanwhile.
        """
        if self.monitor.accepts_batches and not self.suspend_flow.is_set():
            await self.monitor.batches.put(cast("Any", batch))
            return
        put = asyncio.ensure_future(self.monitor.batches.put(cast("Any", batch)))
        suspended = asyncio.ensure_future(self.suspend_flow.wait())
        try:
            await asyncio.wait({put, suspended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for future in (put, suspended):
                future.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await future

    async def commit_advisory(self, offsets: dict[int, int], timeout_s: float) -> None:
        """Commit offsets to Kafka for tools that show lag.  The worker itself does not use them."""
        consumer = self._thread._consumer  # noqa: SLF001
        if consumer is None or not offsets:
            return
        topic = self.monitor.event_topic
        commit = consumer.commit(
            {TopicPartition(topic, p): OffsetAndMetadata(at, "") for p, at in offsets.items()}
        )
        acknowledged = asyncio.run_coroutine_threadsafe(
            asyncio.wait_for(commit, timeout_s), self._thread.thread_loop
        )
        with contextlib.suppress(KafkaError, TimeoutError):  # a rebalance, an unreachable broker
            await asyncio.wrap_future(acknowledged)


class EventTopicTransport(driver.Transport):
    """Faust's Kafka transport with our consumer."""

    Consumer = EventTopicConsumer
