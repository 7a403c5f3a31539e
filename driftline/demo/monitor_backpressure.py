"""Pause the demo's year while the monitor is behind.

Months pass in seconds.  On a busy machine the monitor would report March's drift in May, and the
trainer's decisions would depend on the machine.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final, Self

from confluent_kafka import TopicPartition
from redis import Redis

from driftline.demo.scenario import MODEL
from producer.kafka_client import consumer_of
from producer.routing import partition_of
from stream_monitor.state.redis_store import partition_key

MAX_LAG_RECORDS: Final = 2_500
"""Predictions and labels of about two weeks."""
MAX_WAIT_S: Final = 60.0
"""The year continues after this time; the demo reports a monitor that has ended."""
_LOOK_EVERY_S: Final = 0.2
_POLL_S: Final = 0.02


class MonitorBackpressure:
    """Reads the monitor's lag in the partition of the demo's model; use as a context manager."""

    def __init__(
        self, client: Mapping[str, Any], redis_url: str, topic: str, n_partitions: int
    ) -> None:
        self._target = TopicPartition(topic, partition_of(MODEL, n_partitions))
        self._key = partition_key(topic, self._target.partition)
        self._redis = Redis.from_url(redis_url)
        self._consumer = consumer_of(client)
        self._looked_s = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()
        self._redis.close()

    def lag_records(self) -> int:
        """The number of records that the monitor has not committed."""
        _, end = self._consumer.get_watermark_offsets(self._target, timeout=5)
        stored: Any = self._redis.hget(self._key, "_next")
        return int(end) - max(0, int(stored or 0))

    def wait(self) -> float:
        """Wait while the monitor is far behind; returns for how long (s)."""
        began = time.monotonic()
        if began - self._looked_s < _LOOK_EVERY_S:
            return 0.0
        while self.lag_records() > MAX_LAG_RECORDS and time.monotonic() - began < MAX_WAIT_S:
            time.sleep(_POLL_S)
        self._looked_s = time.monotonic()
        return self._looked_s - began
