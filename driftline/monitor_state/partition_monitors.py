"""Restore the monitor's state of each partition from Redis, without owning the partition."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from stream_monitor.state.partition_state import STATE, PartitionStateFactory
from stream_monitor.state.redis_store import SCAN_COUNT, partition_key

if TYPE_CHECKING:
    from redis import Redis

    from stream_monitor.core.partition import PartitionMonitor
    from stream_monitor.settings import Settings


def read_monitors(
    redis: Redis, settings: Settings, partitions: Iterable[int]
) -> list[PartitionMonitor]:
    """The state of each of the ``partitions`` that has one.

    Raises:
        CorruptState: the stored state cannot be decoded.
    """
    states = PartitionStateFactory(settings.monitor_spec(), settings.topics.prefix)
    topic = settings.topics.events
    found: list[PartitionMonitor] = []
    for partition in partitions:
        key = partition_key(topic, partition)
        stored = redis.hscan_iter(key, match=f"{STATE}*", count=SCAN_COUNT)
        if fields := {name.decode(): value for name, value in stored}:
            found.append(states.restore(topic, partition, fields).monitor)
    return found
