"""Writes records to Kafka with an idempotent producer and ``acks=all``."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message

from producer.cloudevents import Headers
from producer.kafka_client import service_producer
from producer.permission import explained_denial

_FULL_WAIT_S: Final = 0.01
_QUEUE_SETTINGS: Final[dict[str, Any]] = {
    "queue.buffering.max.messages": 50_000,
    "queue.buffering.max.kbytes": 65_536,
    "linger.ms": 0,  # an alert waits for no other; librdkafka still batches what queues up
    "log_level": 3,
}


class Publisher:
    """An idempotent producer whose acknowledgements are futures of the running loop."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._loop, self._client = asyncio.get_running_loop(), config
        self._producer = service_producer(config, _QUEUE_SETTINGS)
        # a deque: callbacks append in another thread while the loop takes from the other end
        self._answered: deque[tuple[asyncio.Future[None], KafkaError | None]] = deque()
        self._stop = threading.Event()
        self._poller = threading.Thread(target=self._poll, name="publisher", daemon=True)
        self._poller.start()

    async def publish(
        self,
        topic: str,
        *,
        value: bytes,
        key: bytes | None = None,
        headers: Headers | None = None,
        partition: int = -1,
    ) -> asyncio.Future[None]:
        """Queue a record; the future ends with its acknowledgement, or `KafkaException`.

        It waits only while the producer's queue is full.
        """
        acknowledged: asyncio.Future[None] = self._loop.create_future()

        def delivered(error: KafkaError | None, _message: Message) -> None:
            if error is not None:
                error = explained_denial(error, "Write", f"topic {topic}", self._client)
            self._answered.append((acknowledged, error))

        while True:
            try:
                self._producer.produce(
                    topic,
                    value=value,
                    key=key,
                    headers=headers or [],
                    partition=partition,
                    on_delivery=delivered,
                )
            except BufferError:
                await asyncio.sleep(_FULL_WAIT_S)
            else:
                return acknowledged

    def partitions(self, topic: str, timeout_s: float) -> int:
        """The number of partitions of a topic; blocks.  It also updates the producer's metadata.

        Raises:
            KafkaException: no broker answers, or the topic does not exist.
        """
        found = self._producer.list_topics(topic, timeout=timeout_s).topics[topic]
        if found.error is not None:
            resource = f"topic {topic}"
            raise KafkaException(explained_denial(found.error, "Describe", resource, self._client))
        return len(found.partitions)

    async def close(self, timeout_s: float = 5.0) -> int:
        """Wait for unacknowledged records; return how many were given up."""
        left = await asyncio.to_thread(self._producer.flush, timeout_s)
        self._stop.set()
        await asyncio.to_thread(self._poller.join, timeout_s)
        self._resolve()
        return int(left)

    def _poll(self) -> None:
        while not self._stop.is_set():
            self._producer.poll(0.1)
            if self._answered and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._resolve)

    def _resolve(self) -> None:
        while self._answered:
            acknowledged, error = self._answered.popleft()
            if acknowledged.done():
                continue
            if error is None:
                acknowledged.set_result(None)
            else:
                acknowledged.set_exception(KafkaException(error))
