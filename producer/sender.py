"""The background thread of an `InferenceLogger`: encodes events and passes them to librdkafka."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import inf
from typing import Any, Final, NamedTuple, TypeAlias

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from msgspec.structs import replace

from producer.arrow_batch import batch_headers, pack, prediction_shape
from producer.batch_buffer import BatchBuffer, BatchSettings
from producer.cloudevents import Headers, event_headers
from producer.codec import RejectedRecord, encode, event_headers_of_value
from producer.counters import LoggerState, PendingEvent
from producer.events import InferenceEvent, Label
from producer.kafka_client import producer_of
from producer.limits import Limits
from producer.permission import explained_denial
from producer.routing import key_of
from producer.spool.disk_spool import DiskSpool
from producer.spool.spool import Spool, is_permanent
from producer.spool.spool_file import SpooledRecord
from producer.validation import EventValidator

log = logging.getLogger("driftline.producer")

POLL_S: Final = 0.01
"""How long the thread waits in librdkafka when there is nothing to do."""
CLOSE_TIMEOUT_S: Final = 5.0
"""How long `Sender.close` waits for the thread to count or spool the rest."""
_MAX_SENT_PER_STEP: Final = 500
_MAX_SPOOLED_PER_STEP: Final = 5_000
_WARNING_INTERVAL_S: Final = 10.0
_LIMITS: Final = Limits()
_SIZE_ERRORS: Final = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})
_PURGED: Final = frozenset({KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT})  # noqa: SLF001


EncodedEvent: TypeAlias = tuple[str, bytes, Headers]
"""Key, value and headers of a record.  A plain tuple, because every event pays for it."""


class _ReadyRecord(NamedTuple):
    """A record to hand to librdkafka: a batch, or one event."""

    key: str
    value: bytes
    headers: Headers
    events: Sequence[InferenceEvent | Label]


class Sender:
    """Sends the queue of ``state`` in order; owns the librdkafka producer of one process.

    With ``batches`` it packs events into records of many; at most ``max_messages`` events wait here
    and in librdkafka.

    The ``spool`` keeps events that arrive while half of ``max_messages`` wait here and as many in
    librdkafka, events that expire, and events that are left at `close`.
    """

    def __init__(
        self,
        client: Mapping[str, Any],
        topic: str,
        source: str,
        shards: int,
        state: LoggerState,
        *,
        max_messages: int,
        spool: DiskSpool | None = None,
        batches: BatchSettings | None = None,
    ) -> None:
        self._client, self._topic, self._source, self._shards = client, topic, source, shards
        self._state = state
        self._max_events, self._spool_threshold = max_messages, max_messages // 2
        self._buffer = None if batches is None else BatchBuffer(batches)
        self._ready: deque[_ReadyRecord] = deque()
        self._held = 0
        self._spool = (
            None if spool is None else Spool(spool, state, self._resend, self._warn_at_intervals)
        )
        self._validator = EventValidator(_LIMITS)
        self._stop = threading.Event()
        self._fatal = False
        self._warned_s = 0.0
        self.producer = self._new_producer()
        self._thread = threading.Thread(target=self._run, name="driftline-logger", daemon=True)
        self._thread.start()

    def _new_producer(self) -> Producer:
        return producer_of(self._client, {"error_cb": self._on_error})

    def close(self) -> None:
        """End the thread; events that are not delivered yet are spooled or dropped."""
        self._stop.set()
        self._thread.join(CLOSE_TIMEOUT_S)

    def close_in_child(self) -> None:
        """Leave the parent's files alone in a forked child, where the thread does not exist."""
        if self._spool is not None:
            self._spool.close_in_child()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._guard(self._step)
            if self._spool is not None:
                self._guard(self._maintain_spool)
        self._guard(self._finish)

    def _guard(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:  # noqa: BLE001 - this thread must outlive any surprise
            self._warn_at_intervals(f"logger: {error!r}")

    def _step(self) -> None:
        if self._fatal:
            self._replace_producer()
        queue = self._state.queue
        if self._buffer is not None:
            self._step_batches(self._buffer)
            return
        for _ in range(min(len(queue), _MAX_SENT_PER_STEP)):
            if not self._send(queue[0]):
                break
            self._state.dequeue()
        self.producer.poll(0 if queue and len(self.producer) == 0 else POLL_S)

    def _step_batches(self, buffer: BatchBuffer) -> None:
        """Move events from the queue to their batches, and send the batches that are due."""
        queue, now_s = self._state.queue, time.monotonic()
        taken = min(len(queue), _MAX_SENT_PER_STEP, self._max_events - self._held)
        for _ in range(taken):
            logged = queue[0]
            self._state.dequeue()
            self._collect(buffer, logged, now_s)
        for group in list(buffer.due(now_s)):
            self._pack(group.key, group.events)
        while self._ready and self._hand_over(self._ready[0]):
            self._ready.popleft()
        self.producer.poll(0 if taken == _MAX_SENT_PER_STEP else POLL_S)

    def _collect(self, buffer: BatchBuffer, logged: PendingEvent, now_s: float) -> None:
        """Put an event into its batch; a label, or an event that fits none, is sent alone."""
        keyed = self._make_or_reject(logged)
        if keyed is None:
            return
        key, event = keyed
        self._held += 1
        if isinstance(event, Label) or prediction_shape(event.prediction) is None:
            self._ready_alone(key, event)
            return
        full = buffer.add(key, event, now_s)
        if full is not None:
            self._pack(full.key, full.events)

    def _ready_alone(self, key: str, event: InferenceEvent | Label) -> None:
        encoded = self._encoded(key, event)
        if encoded is None:
            self._held -= 1
        else:
            self._ready.append(_ReadyRecord(*encoded, [event]))

    def _pack(self, key: str, events: Sequence[InferenceEvent]) -> None:
        """Pack events into one record, or two if it is too large; others are sent alone."""
        try:
            value, packed, others = pack(events)
        except Exception as error:  # noqa: BLE001 - the events can still be sent alone
            self._warn_at_intervals(f"{len(events)} events are sent without a batch: {error!r}")
            value, packed, others = b"", (), events
        if len(value) > _LIMITS.max_batch_bytes and len(packed) > 1:
            half = len(packed) // 2
            self._pack(key, packed[:half])
            self._pack(key, packed[half:])
        elif packed and len(value) <= _LIMITS.max_batch_bytes:
            headers = batch_headers(hashlib.sha256(value).hexdigest()[:32], self._source)
            self._ready.append(_ReadyRecord(key, value, headers, packed))
        else:
            others = [*packed, *others]
        for event in others:
            self._ready_alone(key, event)

    def _hand_over(self, ready: _ReadyRecord) -> bool:
        """Hand a record to librdkafka; False if its queue is full and the record has to wait."""
        on_delivery = partial(self._on_batch_delivery, ready)
        try:
            self.producer.produce(
                self._topic,
                ready.value,
                key=ready.key,
                headers=ready.headers,
                on_delivery=on_delivery,
            )
        except BufferError:
            return False
        except KafkaException as error:
            self._on_batch_error(ready, error.args[0], "send_failed")
        except Exception as error:  # noqa: BLE001 - an error that librdkafka may add
            self._drop_batch(ready.events, "send_failed", str(error))
        return True

    def _on_batch_delivery(
        self, ready: _ReadyRecord, error: KafkaError | None, _message: Message
    ) -> None:
        if error is None:
            self._held -= len(ready.events)
            self._state.count_delivered(len(ready.events))
            return
        self._on_batch_error(ready, *self._explained(error))

    def _on_batch_error(self, ready: _ReadyRecord, error: KafkaError, reason: str) -> None:
        if error.code() in _SIZE_ERRORS and len(ready.events) > 1:
            for event in ready.events:
                self._ready_alone(ready.key, event)
        elif is_permanent(error):
            self._drop_batch(ready.events, reason, error.str())
        else:
            self._spool_or_drop_events(ready.events, reason, error.str())

    def _drop_batch(self, events: Sequence[object], reason: str, detail: str) -> None:
        self._held -= len(events)
        self._drop(reason, detail, len(events))

    def _spool_or_drop_events(
        self, events: Sequence[InferenceEvent | Label], reason: str, detail: str
    ) -> None:
        """Spool events one by one, as records of their own, or count them as dropped."""
        if self._spool is None:
            self._drop_batch(events, reason, detail)
            return
        self._held -= len(events)
        for event in events:
            key = key_of(event.model, event.id, self._shards)
            self._spool_or_drop(reason, detail, key, encode(event))

    @property
    def _n_sent(self) -> int:
        """What librdkafka, and the batches, hold: events with batches, else records."""
        return len(self.producer) if self._buffer is None else self._held

    def _maintain_spool(self) -> None:
        """Move events from an overfull queue to the spool, and let the spool work."""
        waiting = len(self._state.queue)
        if waiting > self._spool_threshold and self._n_sent > self._spool_threshold:
            self._spool_or_drop_queued(min(waiting - self._spool_threshold, _MAX_SPOOLED_PER_STEP))
        if self._spool is not None:
            self._spool.maintain(time.monotonic(), max(1, self._spool_threshold) - self._n_sent)

    def _finish(self) -> None:
        """Spool or drop everything that is left."""
        self.producer.purge()
        self.producer.flush(1.0)  # its callbacks count or spool the rest
        left = [event for ready in self._ready for event in ready.events]
        if self._buffer is not None:
            left += [event for group in self._buffer.due(inf) for event in group.events]
        if left:
            self._ready.clear()
            self._spool_or_drop_events(left, "undelivered", "Kafka does not accept events")
        self._spool_or_drop_queued(len(self._state.queue))
        if self._spool is not None:
            self._spool.close()

    def _spool_or_drop_queued(self, n: int) -> None:
        """Spool or drop the first ``n`` events of the queue."""
        for _ in range(n):
            encoded = self._encode_or_reject(self._state.queue[0])
            self._state.dequeue()
            if encoded is not None:
                key, value, _ = encoded
                self._spool_or_drop("undelivered", "Kafka does not accept events", key, value)

    def _encode_or_reject(self, logged: PendingEvent) -> EncodedEvent | None:
        """Encode an event; count it and return ``None`` if it is invalid."""
        keyed = self._make_or_reject(logged)
        if keyed is None:
            return None
        return self._encoded(*keyed)

    def _encoded(self, key: str, event: InferenceEvent | Label) -> EncodedEvent | None:
        """Encode an event; count it and return ``None`` if it is too large."""
        try:
            return key, _check_size(encode(event)), event_headers(event, source=self._source)
        except RejectedRecord as why:
            self._reject(why.reason, str(why))
        return None

    def _make_or_reject(self, logged: PendingEvent) -> tuple[str, InferenceEvent | Label] | None:
        """Make an event, and its key; count it and return ``None`` if it is invalid."""
        try:
            make, fields = logged
            event = make(*fields)
            # A copy: the validator replaces values that the monitor ignores, other readers may not.
            self._validator.validate(replace(event), time.time_ns() // 1_000_000)
            return key_of(event.model, event.id, self._shards), event
        except RejectedRecord as why:
            self._reject(why.reason, str(why))
        except BaseException as error:  # noqa: BLE001 - a caller's object may raise anything
            self._reject("no_value", _error_text(error))
        return None

    def _send(self, logged: PendingEvent) -> bool:
        """Hand one event to librdkafka; False if its queue is full and the event has to wait."""
        encoded = self._encode_or_reject(logged)
        if encoded is None:
            return True
        key, value, pairs = encoded
        try:
            self.producer.produce(
                self._topic, value, key=key, headers=pairs, on_delivery=self._on_delivery
            )
        except BufferError:
            return False
        except KafkaException as error:
            self._on_send_error(error.args[0], "send_failed", key, value)
        except Exception as error:  # noqa: BLE001 - an error that librdkafka may add
            self._drop("send_failed", str(error))
        return True

    def _resend(
        self, record: SpooledRecord, on_delivery: Callable[[KafkaError | None, Message], None]
    ) -> KafkaError | None:
        """Hand a spooled record to librdkafka, with its original headers."""
        try:
            self.producer.produce(
                record.topic,
                record.value,
                key=record.key,
                headers=event_headers_of_value(record.value, source=record.source),
                on_delivery=on_delivery,
            )
        except BufferError:
            raise
        except KafkaException as error:
            kafka_error: KafkaError = error.args[0]
            return kafka_error
        except Exception as error:  # noqa: BLE001 - the value is not an event
            return KafkaError(KafkaError._INVALID_ARG, str(error))  # noqa: SLF001
        return None

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self._state.count_delivered()
            return
        self._on_send_error(*self._explained(error), message.key() or b"", message.value() or b"")

    def _explained(self, error: KafkaError) -> tuple[KafkaError, str]:
        """The error of a record that was not delivered, and the reason to count it under."""
        purged_at_close = self._stop.is_set() and error.code() in _PURGED
        reason = "undelivered" if purged_at_close else error.name().lower()
        return explained_denial(error, "Write", f"topic {self._topic}", self._client), reason

    def _on_send_error(
        self, error: KafkaError, reason: str, key: str | bytes, value: bytes
    ) -> None:
        if is_permanent(error):
            self._drop(reason, error.str())
        else:
            self._spool_or_drop(reason, error.str(), key, value)

    def _spool_or_drop(self, reason: str, detail: str, key: str | bytes, value: bytes) -> None:
        """Spool a record, or count it as dropped for this reason."""
        if self._spool is None:
            self._drop(reason, detail)
            return
        as_bytes = key.encode() if isinstance(key, str) else key
        record = SpooledRecord(topic=self._topic, key=as_bytes, source=self._source, value=value)
        self._spool.add(record)

    def _on_error(self, error: KafkaError) -> None:
        self._fatal = self._fatal or error.fatal()
        self._warn_at_intervals(f"Kafka: {error.str()}")

    def _replace_producer(self) -> None:
        """Replace the producer: after a fatal error it accepts nothing more."""
        self._fatal = False
        old, self.producer = self.producer, self._new_producer()
        old.purge()
        old.flush(1.0)  # its callbacks count the records it had

    def _reject(self, reason: str, detail: str) -> None:
        """Count an invalid event; log the first of each reason, others at intervals."""
        count = self._state.count_invalid(reason)
        text = f"{count} events are invalid ({reason}), the last one: {detail}"
        if count == 1:
            log.warning("%s", text)
        else:
            self._warn_at_intervals(text)

    def _drop(self, reason: str, detail: str, n: int = 1) -> None:
        lost = self._state.count_dropped(reason, n)
        self._warn_at_intervals(f"{lost} events lost ({reason}), the last one: {detail}")

    def _warn_at_intervals(self, text: str) -> None:
        now = time.monotonic()
        if now - self._warned_s >= _WARNING_INTERVAL_S:
            self._warned_s = now
            log.warning("%s", text)


def _check_size(value: bytes) -> bytes:
    if len(value) > _LIMITS.max_value_bytes:
        why = f"value: {len(value):,} bytes, over {_LIMITS.max_value_bytes:,}"
        raise RejectedRecord("too_large", why)
    return value


def _error_text(error: BaseException) -> str:
    """Return type and text of an error, even if its ``__str__`` raises."""
    try:
        return f"{type(error).__name__}: {error}"[:300]
    except BaseException:  # noqa: BLE001 - a caller's class may raise anything
        return type(error).__name__
