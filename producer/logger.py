"""`InferenceLogger` publishes predictions and labels without affecting the model server."""

from __future__ import annotations

import atexit
import os
import socket
import time
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Self

from msgspec import UNSET

from producer.arrow_batch import require_arrow
from producer.batch_buffer import BatchSettings
from producer.counters import Counters, LoggerState, PendingEvent
from producer.events import InferenceEvent, Label
from producer.ids import uuid7
from producer.names import escape, require_name
from producer.routing import topic_names
from producer.sender import Sender
from producer.spool.disk_spool import DiskSpool
from producer.times import time_ms_of
from producer.values import detached_copy, id_of, json_of, prediction_of, segment_of, values_of

_WAIT_S: Final = 0.005

# A producer inherited by fork must never be destroyed: its threads belong to the parent.
_inherited: Final[list[Sender]] = []


class InferenceLogger:
    """Logs predictions and labels to Kafka without ever blocking or raising in serving.

    `log` and `label` append to a bounded queue and return; a background thread encodes and sends.
    If Kafka is slow, frozen or dead, the queue fills, and the newest events are dropped and counted
    (see `Counters`).

    It is safe to call from any thread and to fork after construction: a child starts with an empty
    queue and counters of its own.  Values of numpy, pandas and the standard library are converted
    (`producer.values`); NaN, infinity, ``pandas.NA`` and ``NaT`` become null, a missing value.  An
    event that the monitor would reject (a list among the features, 600 features, a text of 5,000
    bytes) is dropped as ``invalid``, counted by its reason, and logged once.  The caller may change
    the features after `log` returns.

    ``spool`` is a folder on a local disk.  Events that Kafka does not accept now go there, up to
    ``spool_max_bytes`` in the whole folder, and to Kafka later; events that an earlier process left
    are sent too.  Any number of processes may share the folder.

    ``batch`` sends many events in one record, as Arrow columns (`producer.arrow_batch`): when the
    first one has waited ``batch_linger_ms``, or there are ``batch_rows`` events or about
    ``batch_bytes`` of them.  It costs Kafka and the monitor a fraction of single events.  An event
    that does not fit the columns of its batch is sent alone.

    Raises:
        ValueError: a name is not valid, or a limit is below 1.
        ArrowMissing: ``batch`` without the extra ``driftline[arrow]``.
        KafkaException: librdkafka rejects a setting of ``librdkafka``.

    >>> logger = InferenceLogger("127.0.0.1:1", model="flights-late", version="3")
    >>> event_id = logger.log(features={"temp": 71.6, "carrier": "UA"}, prediction=0.18)
    >>> logger.counters().accepted
    1
    >>> logger.close(0)
    """

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        model: str,
        version: str,
        topic_prefix: str = "driftline",
        shards: int = 1,
        source: str | None = None,
        max_messages: int = 50_000,
        max_kbytes: int = 32_768,
        message_timeout_ms: int = 120_000,
        flush_timeout_s: float = 5.0,
        librdkafka: Mapping[str, Any] | None = None,
        disabled: bool = False,
        spool: str | os.PathLike[str] | None = None,
        spool_max_bytes: int = 256 << 20,
        batch: bool = False,
        batch_linger_ms: int = 50,
        batch_rows: int = 500,
        batch_bytes: int = 512 * 1024,
    ) -> None:
        require_name("model", model)
        require_name("version", version)
        if shards < 1 or max_messages < 1:
            raise ValueError("shards and max_messages must be at least 1")
        if spool_max_bytes < 1:
            raise ValueError("spool_max_bytes must be at least 1")
        if batch:
            require_arrow()
        limits = BatchSettings(
            linger_s=batch_linger_ms / 1000, rows=batch_rows, size_bytes=batch_bytes
        )
        self._batches = limits if batch else None
        self._spool = None if spool is None else Path(spool).absolute()
        self._spool_max_bytes = spool_max_bytes
        self.model, self.version = model, version
        self._shards, self._max_messages, self._disabled = shards, max_messages, disabled
        self._flush_timeout_s = flush_timeout_s
        self._source = source or f"/{socket.gethostname()}/{escape(model)}"
        self._topic = topic_names(topic_prefix).events
        self._client: dict[str, Any] = {
            "bootstrap.servers": bootstrap_servers,
            "queue.buffering.max.messages": max_messages,
            "queue.buffering.max.kbytes": max_kbytes,
            "message.timeout.ms": message_timeout_ms,
            **(librdkafka or {}),
        }
        self._sender: Sender | None = None
        self._reset()
        weak = weakref.WeakMethod(self._after_fork)
        os.register_at_fork(after_in_child=lambda: _call_alive(weak))
        if not disabled:
            self._sender = self._new_sender()
            atexit.register(_close_at_exit, weakref.ref(self))

    @classmethod
    def from_env(cls, *, model: str, version: str, **settings: Any) -> InferenceLogger:
        """Create a logger from the environment.

        ``DRIFTLINE_KAFKA__BOOTSTRAP_SERVERS`` or ``KAFKA_BOOTSTRAP_SERVERS`` has the brokers,
        ``DRIFTLINE_TOPICS__PREFIX`` the prefix of the topics.  ``DRIFTLINE_DISABLED`` with any
        value but 0 disables the logger.
        """
        env = os.environ
        servers = env.get("DRIFTLINE_KAFKA__BOOTSTRAP_SERVERS") or env.get(
            "KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9092"
        )
        settings.setdefault("topic_prefix", env.get("DRIFTLINE_TOPICS__PREFIX", "driftline"))
        settings.setdefault("disabled", env.get("DRIFTLINE_DISABLED", "0") not in ("", "0"))
        return cls(servers, model=model, version=version, **settings)

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._state = LoggerState()
        self._sender = None

    def _new_sender(self) -> Sender:
        folder = self._spool
        return Sender(
            self._client,
            self._topic,
            self._source,
            self._shards,
            self._state,
            max_messages=self._max_messages,
            spool=None if folder is None else DiskSpool(folder, self._spool_max_bytes),
            batches=self._batches,
        )

    def _after_fork(self) -> None:
        if self._sender is not None:
            _inherited.append(self._sender)
            self._sender.close_in_child()
        self._reset()

    def log(
        self,
        *,
        features: Mapping[str, Any],
        prediction: Any = UNSET,
        id: str | None = None,  # noqa: A002 - the contract's word
        time_ms: Any = None,
        segment: Mapping[str, Any] | None = None,
        version: str | None = None,
        shadow: bool = False,
    ) -> str:
        """Log one prediction; return its id, which `label` needs later.

        Without ``prediction`` the event has only inputs.  ``None`` or NaN is an invalid prediction,
        which the monitor reports.  ``time_ms`` may also be in seconds, micro- or nanoseconds (its
        size decides), a date, or ISO 8601 text.

        ``shadow``: the prediction was not used.  Give it the id of the prediction that was, and the
        ``version`` that made it; its features may be empty.
        """
        now_ms = int(time.time() * 1000)
        event_id = id
        try:
            at_ms = now_ms if time_ms is None else time_ms_of(time_ms)
            event_id = uuid7(at_ms) if id is None else id if type(id) is str else id_of(id)
            of_version = self.version if version is None else version
            output = prediction if type(prediction) is float else detached_copy(prediction)
            part = None if segment is None else dict(segment)
            values = dict(features)
            logged = event_id, self.model, of_version, at_ms, values, output, part, bool(shadow)
        except KeyboardInterrupt:
            raise  # a person pressed Ctrl-C
        except BaseException as error:  # noqa: BLE001 - the caller's objects may raise anything
            self._put((_raise_in_sender, (error,)))
            return uuid7(now_ms) if event_id is None else event_id
        self._put((_build_event, logged))
        return event_id

    def label(
        self,
        *,
        id: str,  # noqa: A002 - the contract's word
        label: Any,
        time_ms: Any = None,
        version: str | None = None,
        prediction: Any = None,
    ) -> None:
        """Log the ground truth of the prediction with this id."""
        at_ms = int(time.time() * 1000) if time_ms is None else time_ms
        self._put((_build_label, (id, self.model, label, at_ms, version, prediction)))

    def _put(self, logged: PendingEvent) -> None:
        if self._disabled:
            return
        if self._pid != os.getpid():  # forked without the hooks of os.fork
            self._after_fork()
        if self._sender is None:
            self._sender = self._new_sender()
        queue = self._state.queue
        if len(queue) >= self._max_messages:
            self._state.count_dropped_before_queue("queue_full")
        else:
            queue.append(logged)

    def counters(self) -> Counters:
        """Return the counts of the events of this process so far."""
        return self._state.snapshot()

    def flush(self, timeout_s: float | None = None) -> int:
        """Wait until all events are delivered or dropped; return how many are still in flight."""
        limit_s = self._flush_timeout_s if timeout_s is None else timeout_s
        deadline = time.monotonic() + limit_s
        while (waiting := self.counters().in_flight) and time.monotonic() < deadline:
            time.sleep(_WAIT_S)
        return waiting

    def close(self, timeout_s: float | None = None) -> None:
        """Flush, then spool or drop the rest.  The next `log` starts a new sender."""
        if self._sender is not None and self._pid == os.getpid():
            self.flush(timeout_s)
            self._sender.close()
            self._sender = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _call_alive(weak: weakref.WeakMethod[Callable[[], None]]) -> None:
    call = weak()
    if call is not None:
        call()


def _close_at_exit(logger: weakref.ref[InferenceLogger]) -> None:
    alive = logger()
    if alive is not None:
        alive.close()


def _build_event(
    event_id: str,
    model: str,
    version: str,
    time_ms: int,
    features: dict[Any, Any],
    prediction: Any,
    segment: dict[Any, Any] | None,
    shadow: bool,  # noqa: FBT001 - the sender passes the arguments by position
) -> InferenceEvent:
    return InferenceEvent(
        id=event_id,
        model=model,
        version=version,
        time_ms=time_ms,
        features=values_of(features),
        prediction=prediction if prediction is UNSET else prediction_of(prediction),
        segment=None if segment is None else segment_of(segment),
        shadow=shadow,
    )


def _build_label(
    event_id: str, model: str, label: Any, time_ms: Any, version: str | None, prediction: Any
) -> Label:
    return Label(
        id=id_of(event_id),
        model=model,
        label=json_of(label),
        time_ms=time_ms_of(time_ms),
        version=version,
        prediction=prediction_of(prediction),
    )


def _raise_in_sender(error: BaseException) -> InferenceEvent:
    """Let the sender count an event whose values cannot be copied."""
    raise error
