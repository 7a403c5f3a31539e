"""Appends a `Tick` to partitions without records, so that their append clock advances."""

from __future__ import annotations

import time
from typing import Final

from stream_monitor.metrics import Metrics
from stream_monitor.runtime.clock import wall_clock_ms
from stream_monitor.runtime.outbound_records import tick_record
from stream_monitor.runtime.partitions import OwnedPartitions
from stream_monitor.runtime.publisher import Publisher

CHECK_INTERVAL_S: Final = 1.0


class Ticker:
    """Appends a tick to every owned partition that had no record for ``idle_s``."""

    def __init__(
        self, partitions: OwnedPartitions, publisher: Publisher, metrics: Metrics, *, idle_s: float
    ) -> None:
        self._partitions = partitions
        self._publisher = publisher
        self._metrics = metrics
        self._idle_s = idle_s
        self._last_s: dict[int, float] = {}

    async def append_due(self) -> None:
        """Append a tick where it is due.  A lost tick is followed by another one."""
        now = time.monotonic()
        for owned in self._partitions:
            idle_since = max(owned.last_record_s, self._last_s.get(owned.partition, 0.0))
            if now - idle_since < self._idle_s:
                continue
            self._last_s[owned.partition] = now
            value, headers = tick_record(wall_clock_ms())
            written = await self._publisher.publish(
                owned.topic, value=value, headers=headers, partition=owned.partition
            )
            written.add_done_callback(lambda future: future.cancelled() or future.exception())
            self._metrics.ticks.inc()
