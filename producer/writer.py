"""`EventWriter` writes events that must not be lost; Kafka acknowledges each of them.

Label jobs, file publishing and the trainer use it; a model server uses `InferenceLogger`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, TypeAlias

from confluent_kafka import KafkaError, KafkaException, Message

from producer.cloudevents import event_headers
from producer.codec import encode
from producer.events import MAX_EVENT_BYTES, Event, ModelUpdate
from producer.kafka_client import producer_of
from producer.permission import explained_denial
from producer.routing import key_of, placed_keys, topic_names

OnDelivered: TypeAlias = Callable[[int, int], object]
"""Receives the partition and the offset of an acknowledged event."""

OnEventTooLarge: TypeAlias = Callable[[str], object]
"""Receives the error of an event that Kafka rejected for its size."""

_BY_KEY: Final = -1  # RD_KAFKA_PARTITION_UA of librdkafka
_SIZE_HINT: Final = "`driftline topics plan` shows the max.message.bytes that the topic should have"


class DeliveryError(RuntimeError):
    """Kafka did not acknowledge some events; the text has their number and the last error."""


class EventTooLarge(DeliveryError):  # noqa: N818
    """An event is larger than the event topic accepts; a retry would fail too."""


class EventWriter:
    """Writes events to the event topic and counts the acknowledged ones.

    ``source`` is the header ``ce_source``; ``librdkafka`` has further settings, which win over the
    defaults.

    Raises:
        KafkaException: librdkafka rejects a setting.
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
        self._client = {"bootstrap.servers": bootstrap_servers, **(librdkafka or {})}
        self._producer = producer_of(self._client)
        self.delivered = 0
        self._failures: list[str] = []

    def write(
        self,
        event: Event,
        *,
        partition: int | None = None,
        on_delivered: OnDelivered | None = None,
        on_too_large: OnEventTooLarge | None = None,
    ) -> None:
        """Write one event; block while the queue of librdkafka is full.

        A `ModelUpdate` goes to every partition of its model; ``partition`` restricts an event to
        one partition.  `write` and `flush` call ``on_delivered`` for each acknowledged record.
        They call ``on_too_large`` where Kafka rejects the batch of the record for its size; other
        records of the batch may be the cause.  With ``on_too_large`` `flush` does not raise for
        such a record.

        Raises:
            EventTooLarge: the event is larger than the monitor accepts.
            KafkaException: librdkafka rejects the record for another reason.
        """
        on_delivery = partial(self._on_delivery, on_delivered, on_too_large)
        model = getattr(event, "model", "")
        if partition is not None:
            self._produce(key_of(model, ""), event, on_delivery, partition=partition)
            return
        if isinstance(event, ModelUpdate):
            for key in placed_keys(model, self._shards):
                self._produce(key, event, on_delivery)
            return
        self._produce(key_of(model, getattr(event, "id", ""), self._shards), event, on_delivery)

    def _produce(
        self,
        key: str,
        event: Event,
        on_delivery: Callable[[KafkaError | None, Message], None],
        partition: int = _BY_KEY,
    ) -> None:
        value = encode(event)
        if len(value) > MAX_EVENT_BYTES:
            raise _too_large(event, value, f"at most {MAX_EVENT_BYTES:,} are accepted")
        while True:
            try:
                self._producer.produce(
                    self.topic,
                    value,
                    key=key,
                    partition=partition,
                    headers=event_headers(event, source=self._source),
                    on_delivery=on_delivery,
                )
            except BufferError:
                self._producer.poll(0.1)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.MSG_SIZE_TOO_LARGE:
                    raise
                what = "with key and headers it is larger than a record may be"
                raise _too_large(event, value, what) from error
            else:
                self._producer.poll(0)
                return

    def _on_delivery(
        self,
        on_delivered: OnDelivered | None,
        on_too_large: OnEventTooLarge | None,
        error: KafkaError | None,
        message: Message,
    ) -> None:
        if error is None:
            self.delivered += 1
            if on_delivered is not None:
                on_delivered(message.partition() or 0, message.offset() or 0)
        elif error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            why = f"{error.str()}; {_SIZE_HINT}"
            if on_too_large is None:
                self._failures.append(why)
            else:
                on_too_large(why)
        else:
            explained = explained_denial(error, "Write", f"topic {self.topic}", self._client)
            self._failures.append(explained.str())

    def flush(self, timeout_s: float = 60.0) -> int:
        """Wait for all acknowledgements; return how many events arrived so far.

        Raises:
            DeliveryError: at least one event did not arrive.
        """
        waiting = self._producer.flush(timeout_s)
        if waiting or self._failures:
            why = self._failures[-1] if self._failures else f"no answer within {timeout_s:g} s"
            raise DeliveryError(f"{waiting + len(self._failures)} events did not arrive: {why}")
        return self.delivered


def _too_large(event: Event, value: bytes, why: str) -> EventTooLarge:
    hint = "; a profile of fewer features is smaller" if isinstance(event, ModelUpdate) else ""
    return EventTooLarge(
        f"a {type(event).__name__} of {len(value):,} bytes was not written: {why}{hint}"
    )
