"""Pause the demo's year while the monitor or the trainer is behind, or a model is fitted.

Months pass in seconds.  On a busy machine the monitor would report March's drift in May, and the
trainer would compare versions on labels of April: what they decide would depend on the machine.
A fit takes seconds, which would be a month with the old model: the year pauses from its start until
the new model is in service, or rejected.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from confluent_kafka import TopicPartition
from redis import Redis

from driftline.demo.reconciliation import unfinished_jobs
from driftline.demo.scenario import MODEL
from driftline.serving import ChampionModel
from driftline.topics.topic_reader import TopicDecoder, TopicReader
from producer.kafka_client import consumer_of
from producer.routing import partition_of
from stream_monitor.state.redis_store import partition_key
from trainer.contracts import RetrainEvent
from trainer.jobs.comparisons import read_position

MAX_MONITOR_LAG_RECORDS: Final = 1_200
"""Predictions and labels of about six days; a commit of the monitor moves by half of it."""
MAX_TRAINER_LAG_RECORDS: Final = 2_400
"""The trainer scores labelled events once a second."""
MAX_START_LAG_RECORDS: Final = 6_000
"""While the trainer starts, which takes seconds: before its first decision by more events."""
MAX_WAIT_S: Final = 60.0
"""After this time the year no longer waits for a process; the demo reports what has ended."""
_LOOK_EVERY_S: Final = 0.2
_POLL_S: Final = 0.02


class _Reader(NamedTuple):
    """A process that reads the event topic: its next offset, and how far it may be behind."""

    next_offset: Callable[[], int]
    max_lag_records: int
    max_start_lag_records: int

    def is_behind(self, end: int) -> bool:
        """Whether the year must wait for it; ``end`` is the end of the partition."""
        position = self.next_offset()
        limit = self.max_lag_records if position else self.max_start_lag_records
        return end - position > limit


class Backpressure:
    """Reads the lag of monitor and trainer in the demo's partition; use as a context manager."""

    def __init__(
        self,
        client: Mapping[str, Any],
        redis_url: str,
        topic: str,
        n_partitions: int,
        data_dir: Path,
    ) -> None:
        partition = partition_of(MODEL, n_partitions)
        self._target = TopicPartition(topic, partition)
        self._redis = Redis.from_url(redis_url)
        self._consumer = consumer_of(client)
        self._looked_s = 0.0
        key = partition_key(topic, partition)
        self._readers = [
            _Reader(
                lambda: _stored_offset(self._redis, key),
                MAX_MONITOR_LAG_RECORDS,
                MAX_MONITOR_LAG_RECORDS,
            ),
            _Reader(
                lambda: read_position(data_dir, MODEL, partition),
                MAX_TRAINER_LAG_RECORDS,
                MAX_START_LAG_RECORDS,
            ),
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()
        self._redis.close()

    def wait(self) -> float:
        """Wait while a process lags far behind; return the waiting time (s)."""
        began = time.monotonic()
        if began - self._looked_s < _LOOK_EVERY_S:
            return 0.0
        _, end = self._consumer.get_watermark_offsets(self._target, timeout=5)
        for reader in list(self._readers):
            while reader.is_behind(end):
                if time.monotonic() - began > MAX_WAIT_S:
                    self._readers.remove(reader)
                    break
                time.sleep(_POLL_S)
        self._looked_s = time.monotonic()
        return self._looked_s - began


def _stored_offset(redis: Redis, key: str) -> int:
    stored: Any = redis.hget(key, "_next")
    return max(0, int(stored or 0))


SWAP_S: Final = 10.0
_FIT_POLL_S: Final = 0.05


class RetrainPause:
    """Reads the retrain topic; use as a context manager."""

    def __init__(self, client: Mapping[str, Any], topic: str, champion: ChampionModel) -> None:
        self._reader = TopicReader(client, topic)
        self._events_in = TopicDecoder(topic, RetrainEvent)
        self._champion = champion
        self._events: list[RetrainEvent] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()

    def wait(self) -> float:
        """Wait while a job is running; return the waiting time (s)."""
        began = time.monotonic()
        promoted = self._poll(0.0)
        while unfinished_jobs(self._events) and time.monotonic() - began < MAX_WAIT_S:
            promoted = self._poll(_FIT_POLL_S) or promoted
        if promoted is not None:
            self._champion.wait(promoted, timeout_s=SWAP_S)
        return time.monotonic() - began

    def _poll(self, timeout_s: float) -> str | None:
        """Read new retrain events; the promoted version, if there is one."""
        new = list(self._events_in.values(self._reader.poll(timeout_s)))
        self._events += new
        return next((event.challenger for event in new if event.step == "promoted"), None)
