"""`DriftAlerts`: an iterator over alerts, for programs that react to them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeAlias

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from driftline.topics.topic_reader import MissingTopicError, TopicDecoder, as_record
from producer.kafka_client import consumer_of
from producer.permission import explained_denial, is_denied
from producer.routing import topic_names
from stream_monitor.contracts import ALERT_CE_TYPE, DriftAlert

log = logging.getLogger(__name__)

Start: TypeAlias = Literal["earliest", "latest"]
MAX_REMEMBERED: Final = 10_000
"""Ids of alerts by which a process recognises repeats."""
MAX_COMMITTED_IDS: Final = 100
"""Ids that are committed with a position, so that the next process recognises their repeats."""
MAX_METADATA_BYTES: Final = 3_500  # a broker accepts 4,096
BATCH: Final = 100
POLL_S: Final = 0.5
COMMITTED_TIMEOUT_S: Final = 10.0
_MISSING: Final = (
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001 - public names of librdkafka's errors
    KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
)


class DriftAlerts:
    """Alerts as they arrive, each once: ``for alert in DriftAlerts("kafka:9092", group="mine")``.

    Members of one ``group`` share the alerts, and a restarted program continues where it was.  An
    alert is committed when the program asks for the next one, or leaves the ``with`` block without
    an exception: after a crash the alert that was in work comes once more.  Repeats are recognised
    by ``alert_id`` among the last 10,000 alerts of this process, and the last 100 of the partition
    that an earlier one committed.  ``async for`` works too.

    Args:
        bootstrap_servers: Kafka brokers as ``host:port,...``.
        group: Consumer group, such as ``my-team.pager``.
        topic_prefix: Prefix of the topics.
        models: Only alerts of these models; by default of all.
        drills: Whether alerts of drills are included, whose drift was injected.
        start: Where a new group starts: at the ``earliest`` alert, or at the ``latest``.
        timeout_s: The iteration ends when no alert arrives for so long; by default it never ends.
        librdkafka: Further settings of the client, such as ``security.protocol``.

    Raises:
        KafkaException: Kafka rejects a setting, or denies a permission.
        MissingTopicError: there is no alerts topic of this prefix.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        group: str,
        topic_prefix: str = "driftline",
        models: Collection[str] | None = None,
        drills: bool = False,
        start: Start = "earliest",
        timeout_s: float | None = None,
        librdkafka: Mapping[str, Any] | None = None,
    ) -> None:
        self._client = {**(librdkafka or {}), "bootstrap.servers": bootstrap_servers}
        self._topic = topic_names(topic_prefix).alerts
        self._group, self._timeout_s = group, timeout_s
        self._models = None if models is None else frozenset(models)
        self._drills = drills
        self._records = TopicDecoder(self._topic, DriftAlert, kind=ALERT_CE_TYPE)
        self._ready: deque[tuple[DriftAlert, TopicPartition]] = deque()
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._done: dict[int, deque[str]] = {}  # ids by partition, the latest last
        self._in_work: tuple[str, TopicPartition] | None = None
        self._is_away = False
        self._executor: ThreadPoolExecutor | None = None
        self._consumer = consumer_of(
            self._client,
            group=group,
            required={"auto.offset.reset": start, "error_cb": self._on_error},
        )
        self._consumer.subscribe([self._topic], on_assign=self._on_assign)

    @property
    def skipped(self) -> int:
        """Records that could not be read as an alert; a warning names the first."""
        return self._records.skipped

    def __iter__(self) -> Iterator[DriftAlert]:
        return self

    def __next__(self) -> DriftAlert:
        self._commit()
        waited_since_s = time.monotonic()
        while not self._ready:
            self._receive()
            if not self._ready and self._has_timed_out(waited_since_s):
                raise StopIteration
        return self._take()

    def __aiter__(self) -> AsyncIterator[DriftAlert]:
        return self

    async def __anext__(self) -> DriftAlert:
        """The next alert; where the task is cancelled meanwhile, a later call returns it."""
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, "drift-alerts")
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._executor, self._commit)
        waited_since_s = time.monotonic()
        while not self._ready:
            await loop.run_in_executor(self._executor, self._receive)
            if not self._ready and self._has_timed_out(waited_since_s):
                raise StopAsyncIteration
        return self._take()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._commit()
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.__exit__, kind, error, trace)

    def close(self) -> None:
        """Leave the group, without committing the alert that is being processed."""
        if self._executor is not None:
            self._executor.shutdown(wait=True)
        self._consumer.close()

    def _has_timed_out(self, since_s: float) -> bool:
        return self._timeout_s is not None and time.monotonic() - since_s >= self._timeout_s

    def _take(self) -> DriftAlert:
        alert, after = self._ready.popleft()
        self._in_work = alert.alert_id, after
        return alert

    def _commit(self) -> None:
        """Commit the position after the alert in work."""
        done, self._in_work = self._in_work, None
        if done is None:
            return
        alert_id, after = done
        ids = self._done.setdefault(after.partition, deque(maxlen=MAX_COMMITTED_IDS))
        ids.append(alert_id)
        place = TopicPartition(self._topic, after.partition, after.offset, _metadata_of(ids))
        try:
            self._consumer.commit(offsets=[place], asynchronous=False)
        except KafkaException as error:  # away, or another member has the partition now
            log.warning("an alert could not be committed and may be delivered twice: %s", error)

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Read which alerts an earlier owner of the partitions has handled."""
        try:
            committed = consumer.committed(partitions, timeout=COMMITTED_TIMEOUT_S)
        except KafkaException as error:
            log.warning("repeats of alerts before the start are not recognised: %s", error)
            return
        for place in committed:
            ids = (place.metadata or "").split()
            self._done[place.partition] = deque(ids, maxlen=MAX_COMMITTED_IDS)
            self._seen.update(dict.fromkeys(ids))

    def _receive(self) -> None:
        """Wait up to half a second for further alerts."""
        for message in self._consumer.consume(BATCH, POLL_S):
            error = message.error()
            if error is not None:
                self._raise_lasting(error)
                continue
            if self._is_away:
                self._is_away = False
                log.info("alerts of %s are read again", self._topic)
            record = as_record(message)
            n_skipped = self._records.skipped
            alert = self._records.of(record)
            if alert is None:
                if self._records.skipped > n_skipped == 0:
                    log.warning("%s", *self._records.notes())
                continue
            if self._is_wanted(alert):
                after = TopicPartition(self._topic, record.partition, record.offset + 1)
                self._ready.append((alert, after))

    def _is_wanted(self, alert: DriftAlert) -> bool:
        if (alert.drill and not self._drills) or alert.alert_id in self._seen:
            return False
        if self._models is not None and alert.model not in self._models:
            return False
        self._seen[alert.alert_id] = None
        if len(self._seen) > MAX_REMEMBERED:
            self._seen.popitem(last=False)
        return True

    def _on_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN and not self._is_away:  # noqa: SLF001
            self._is_away = True
            log.warning(
                "Kafka at %s does not answer; alerts are read when it is back",
                self._client["bootstrap.servers"],
            )

    def _raise_lasting(self, error: KafkaError) -> None:
        """Raise an error that librdkafka does not retry by itself."""
        if is_denied(error):
            of_group = error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED
            resource = f"group {self._group}" if of_group else f"topic {self._topic}"
            raise KafkaException(explained_denial(error, "Read", resource, self._client))
        if error.code() in _MISSING:
            raise MissingTopicError(self._topic)
        if error.fatal():
            raise KafkaException(error)


def _metadata_of(ids: Iterable[str]) -> str:
    """The latest ids, within the size that a broker accepts.

    >>> _metadata_of(["a", "b"])
    'a b'
    >>> len(_metadata_of(["x" * 32] * 1_000)) <= MAX_METADATA_BYTES
    True
    """
    kept: list[str] = []
    size = 0
    for alert_id in reversed(list(ids)):
        size += len(alert_id.encode()) + 1
        if size > MAX_METADATA_BYTES:
            break
        kept.append(alert_id)
    return " ".join(reversed(kept))
