"""Writes the events of HTTP requests to Kafka, within a bounded time."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from confluent_kafka import KafkaException

from driftline.dashboard.request_problem import Problem, RequestProblem
from producer.events import InferenceEvent, Label
from producer.writer import DeliveryError, EventWriter

if TYPE_CHECKING:
    from stream_monitor.settings import Settings

DELIVERY_S: Final = 10.0
"""Kafka has to acknowledge all events of a request within this time."""
RETRY_S: Final = 5
_TIMEOUTS: Final = frozenset({"message.timeout.ms", "delivery.timeout.ms"})


class EventDelivery:
    """Writes events; each concurrent request has its own writer.

    A writer that failed is not used again, because it counts the failures of earlier requests.
    librdkafka drops a record after ``timeout_s``, so none arrives after the answer.
    """

    def __init__(self, settings: Settings, timeout_s: float = DELIVERY_S) -> None:
        self._servers = settings.kafka.bootstrap_servers
        self._prefix, self._topic = settings.topics.prefix, settings.topics.events
        self._timeout_s = timeout_s
        given = {k: v for k, v in settings.kafka.librdkafka.items() if k not in _TIMEOUTS}
        self._librdkafka = {**given, "message.timeout.ms": round(timeout_s * 1000)}
        self._idle: deque[EventWriter] = deque()

    def deliver(self, events: Sequence[InferenceEvent | Label]) -> None:
        """Write events; blocks until Kafka has acknowledged all of them.

        Raises:
            RequestProblem: Kafka did not acknowledge an event.
        """
        try:
            writer = self._writer()
            for event in events:
                writer.write(event)
            writer.flush(self._timeout_s + 1)
        except (DeliveryError, KafkaException) as error:
            raise RequestProblem(
                503,
                Problem(
                    what="Kafka did not acknowledge all events; some may have been written",
                    where=f"topic {self._topic} at {self._servers}",
                    why=_text_of(error),
                    fix="repeat the request with these ids: an event that arrives twice counts "
                    "once. `driftline doctor` names what is wrong with Kafka",
                    ids=[event.id for event in events],
                ),
                retry_s=RETRY_S,
            ) from error
        self._idle.append(writer)

    def _writer(self) -> EventWriter:
        try:
            return self._idle.pop()
        except IndexError:
            return EventWriter(
                self._servers,
                topic_prefix=self._prefix,
                source="/driftline/http",
                librdkafka=self._librdkafka,
            )


def _text_of(error: Exception) -> str:
    cause = error.args[0] if error.args else error
    return str(cause.str()) if hasattr(cause, "str") else str(error)
