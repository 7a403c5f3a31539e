"""`EventWriter`: events that must arrive, one acknowledgement each.

For label jobs, file publishing, the trainer and people; a model server uses `InferenceLogger`.
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
"""Hears the partition and the offset of an event that arrived."""

OnEventTooLarge: TypeAlias = Callable[[str], object]
"""Hears why the log did not take an event, where its size is the reason."""

_BY_KEY: Final = -1  # librdkafka's RD_KAFKA_PARTITION_UA
_SIZE_HINT: Final = "`driftline topics plan` says what max.message.bytes the topic should have"


class DeliveryError(RuntimeError):
    """Some events were not acknowledged; the text says how many, and why."""


class EventTooLarge(DeliveryError):  # noqa: N818
    """An event that no log takes, however often it is written."""


class EventWriter:
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
        """Write one event; waits while librdkafka's queue is full.

        A `ModelUpdate` goes to every partition that its model is placed in; ``partition`` names
        one, for what concerns that one only.  ``on_delivered`` is called for each record, by
        `write` and `flush`; so is ``on_too_large`` where the topic takes no batch so large, be it
        for the others in the batch, and with it `flush` does not raise for that.

        Raises:
            EventTooLarge: the event is larger than the monitor takes.
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
            raise _too_large(event, value, f"{MAX_EVENT_BYTES:,} are taken")
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
                what = "with key and headers it is larger than a record of the log"
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
            told = explained_denial(error, "Write", f"topic {self.topic}", self._client)
            self._failures.append(told.str())

    def flush(self, timeout_s: float = 60.0) -> int:
        """Wait for all acknowledgements; answers how many events arrived so far.

        Raises:
            DeliveryError: at least one did not arrive.
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
