"""`LogWriter`: events that must arrive, one acknowledgement each.

For label jobs, file publishing, the trainer and people; a model server uses `InferenceLogger`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, TypeAlias

from confluent_kafka import KafkaError, Message, Producer

from producer.codec import encode, headers
from producer.events import MAX_EVENT_BYTES, MAX_RECORD_BYTES, Event, ModelUpdate
from producer.routing import key_of, topic_names

Arrival: TypeAlias = Callable[[int, int], object]
"""Hears the partition and the offset of an event that arrived."""

_BY_KEY: Final = -1  # librdkafka's RD_KAFKA_PARTITION_UA


class Undelivered(RuntimeError):  # noqa: N818 - a finding, named for what it says
    """Some events were not acknowledged; the text says how many, and why."""


class LogWriter:
    """Writes events to the log and knows which arrived.

    Raises KafkaException for a wrong ``librdkafka`` setting.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        topic_prefix: str = "driftline",
        source: str = "/driftline/writer",
        shards: int = 1,
        librdkafka: Mapping[str, Any] | None = None,
    ) -> None:
        self.topic = topic_names(topic_prefix).events
        self._source, self._shards = source, shards
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap_servers,
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                "linger.ms": 5,
                "compression.type": "lz4",
                "message.timeout.ms": 60_000,
                "message.max.bytes": MAX_RECORD_BYTES,
                "log_level": 0,
                **(librdkafka or {}),
            }
        )
        self.delivered = 0
        self._failures: list[str] = []

    def write(
        self, event: Event, *, partition: int | None = None, on_arrival: Arrival | None = None
    ) -> None:
        """Write one event; waits while librdkafka's queue is full.

        A `ModelUpdate` goes to every partition its model routes to; ``partition`` names one, for
        what concerns that one only.  ``on_arrival`` is called for each record, by `write` and
        `flush`.

        Raises:
            Undelivered: the event is larger than the monitor takes.
        """
        model = getattr(event, "model", "")
        if partition is not None:
            self._produce(model, event, on_arrival, partition=partition)
            return
        if isinstance(event, ModelUpdate) and self._shards > 1:
            for shard in range(self._shards):
                self._produce(f"{model}/{shard}", event, on_arrival)
            return
        self._produce(key_of(model, getattr(event, "id", ""), self._shards), event, on_arrival)

    def _produce(
        self, key: str, event: Event, on_arrival: Arrival | None, partition: int = _BY_KEY
    ) -> None:
        value, pairs = encode(event), headers(event, source=self._source)
        if len(value) > MAX_EVENT_BYTES:
            raise Undelivered(
                f"a {type(event).__name__} of {len(value):,} bytes was not written: "
                f"{MAX_EVENT_BYTES:,} are taken; a profile of fewer features is smaller"
            )
        while True:
            try:
                self._producer.produce(
                    self.topic, value, key=key, partition=partition, headers=pairs,
                    on_delivery=partial(self._on_delivery, on_arrival),
                )  # fmt: skip
            except BufferError:
                self._producer.poll(0.1)
            else:
                self._producer.poll(0)
                return

    def _on_delivery(
        self, on_arrival: Arrival | None, error: KafkaError | None, message: Message
    ) -> None:
        if error is None:
            self.delivered += 1
            if on_arrival is not None:
                on_arrival(message.partition() or 0, message.offset() or 0)
        else:
            self._failures.append(error.str())

    def flush(self, timeout_s: float = 60.0) -> int:
        """Wait for all acknowledgements; answers how many events arrived so far.

        Raises:
            Undelivered: at least one did not arrive.
        """
        waiting = self._producer.flush(timeout_s)
        if waiting or self._failures:
            why = self._failures[-1] if self._failures else f"no answer within {timeout_s:g} s"
            if "size too large" in why:
                why += "; `driftline topics plan` says what max.message.bytes the topic should have"
            raise Undelivered(f"{waiting + len(self._failures)} events did not arrive: {why}")
        return self.delivered
