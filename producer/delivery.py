"""The thread behind an `InferenceLogger`: serialises, hands to librdkafka, hears what became."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any, Final

from confluent_kafka import KafkaError, Message, Producer

from producer.codec import encode, headers
from producer.counters import Logged, Tally
from producer.routing import key_of

log = logging.getLogger("driftline.producer")

POLL_S: Final = 0.01
"""How long the thread sleeps in librdkafka when there is nothing to do."""
_SLICE: Final = 500
_COMPLAIN_EVERY_S: Final = 10.0


class Delivery:
    """Owns the librdkafka producer of one process; empties the queue of ``tally`` in order."""

    def __init__(
        self, config: dict[str, Any], topic: str, source: str, shards: int, tally: Tally
    ) -> None:
        self._config, self._topic, self._source, self._shards = config, topic, source, shards
        self._tally = tally
        self._stop = threading.Event()
        self._fatal = False
        self._complained_s = 0.0
        self.producer = self._new_producer()
        self._thread = threading.Thread(target=self._run, name="driftline-logger", daemon=True)
        self._thread.start()

    def _new_producer(self) -> Producer:
        return Producer({**self._config, "error_cb": self._on_error})

    def close(self) -> None:
        """Stop the thread; what is still queued stays there."""
        self._stop.set()
        self._thread.join(1.0)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                if self._fatal:
                    self._replace_producer()
                queue = self._tally.queue
                for _ in range(min(len(queue), _SLICE)):
                    if not self._send(queue[0]):
                        break
                    self._tally.take()
                self.producer.poll(0 if queue and len(self.producer) == 0 else POLL_S)
            except Exception as error:  # noqa: BLE001 - this thread must outlive any surprise
                self._complain(f"logger: {error!r}")

    def _send(self, logged: Logged) -> bool:
        """Hand one event over; False if librdkafka's queue is full, to be tried again."""
        try:
            make, fields = logged
            event = make(*fields)
            value = encode(event)
            key = key_of(event.model, event.id, self._shards)
            pairs = headers(event, source=self._source)
        except Exception as error:  # noqa: BLE001 - whatever a caller may have passed
            self._drop("invalid", str(error))
            return True
        try:
            self.producer.produce(
                self._topic, value, key=key, headers=pairs, on_delivery=self._on_delivery
            )
        except BufferError:
            return False
        except Exception as error:  # noqa: BLE001 - KafkaException and what librdkafka may add
            self._drop("refused", str(error))
        return True

    def _on_delivery(self, error: KafkaError | None, _message: Message) -> None:
        if error is None:
            self._tally.deliver()
        else:
            self._drop(error.name().lower(), error.str())

    def _on_error(self, error: KafkaError) -> None:
        self._fatal = self._fatal or error.fatal()
        self._complain(f"Kafka: {error.str()}")

    def _replace_producer(self) -> None:
        """After a fatal error an idempotent producer takes nothing more."""
        self._fatal = False
        old, self.producer = self.producer, self._new_producer()
        old.purge()
        old.flush(1.0)  # its callbacks count what it held

    def _drop(self, reason: str, detail: str) -> None:
        lost = self._tally.drop(reason)
        self._complain(f"{lost} events lost ({reason}), the last one: {detail}")

    def _complain(self, text: str) -> None:
        now = time.monotonic()
        if now - self._complained_s >= _COMPLAIN_EVERY_S:
            self._complained_s = now
            log.warning("%s", text)
