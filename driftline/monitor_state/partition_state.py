"""What Redis holds of a partition of the log, read without taking part."""

from __future__ import annotations

from typing import Any, Final, NamedTuple, Protocol

import msgspec

from stream_monitor.core.counters import Counters
from stream_monitor.errors import CorruptState
from stream_monitor.state.codec import decode_state
from stream_monitor.state.partition_state import STATE
from stream_monitor.state.redis_store import partition_key
from stream_monitor.state.store import STOPPED
from stream_monitor.worker_heartbeat import WorkerHeartbeat, alive, decode_heartbeats, workers_key

_COUNTERS: Final = f"{STATE}counters"
MONITOR_STATE_KIND: Final = "monitor"
"""What the parts of a partition are sealed under."""


class PartitionHashClient(Protocol):
    """The part of a Redis client that is used here."""

    def hmget(self, name: str, keys: list[str]) -> Any: ...  # noqa: D102 - Redis says it
    def hkeys(self, name: str) -> Any: ...  # noqa: D102


class WorkerHashClient(Protocol):
    """The part of a Redis client that `read_workers` uses."""

    def hgetall(self, name: str) -> Any: ...  # noqa: D102 - Redis says it


class KeyScanClient(Protocol):
    """The part of a Redis client that `partitions_in` uses."""

    def scan_iter(self, match: str, count: int) -> Any: ...  # noqa: D102 - Redis says it


def partitions_in(redis: KeyScanClient, topic: str) -> list[int]:
    """The partitions of a topic that Redis holds something of: Kafka is not asked."""
    head, tail = partition_key(topic, 0)[:-2], "}"
    keys = redis.scan_iter(match=f"{head}*{tail}", count=1_000)
    numbers = [key.decode().removeprefix(head).removesuffix(tail) for key in keys]
    return sorted(int(number) for number in numbers if number.isdecimal())


class PartitionState(NamedTuple):
    """Where a partition stands.  ``next`` is ``None`` before the first commit.

    ``unpublished`` counts alerts and windows that are committed and not yet published;
    ``owner_wrote_ms`` is
    when the owner last wrote, by its clock, and ``None`` where it gave the partition up or there
    has never been one.  ``stopped`` is why the owner reads no further; empty where it reads.
    """

    partition: int
    next: int | None
    counters: Counters
    unpublished: int
    member: str | None
    owner_wrote_ms: int | None
    stopped: str = ""

    def since_last_write_ms(self, now_ms: int) -> int | None:
        """Since the owner wrote last; ``None`` where nobody owns the partition."""
        return None if self.owner_wrote_ms is None else now_ms - self.owner_wrote_ms


def read_partition(redis: PartitionHashClient, topic: str, partition: int) -> PartitionState:
    """Read one partition's hash.

    Raises:
        CorruptState: the counters do not read back.
    """
    key = partition_key(topic, partition)
    asked = ["_next", _COUNTERS, "_member", "_ts", STOPPED]
    position, counters, member, seen, stopped = redis.hmget(key, asked)
    return PartitionState(
        partition=partition,
        next=None if position is None or int(position) < 0 else int(position),
        counters=_counters(counters) if counters else Counters(),
        unpublished=sum(field.startswith(b"o:") for field in redis.hkeys(key)),
        member=None if member is None else member.decode("utf-8", "replace"),
        owner_wrote_ms=int(float(seen or 0)) or None,
        stopped=(stopped or b"").decode("utf-8", "replace"),
    )


def read_workers(redis: WorkerHashClient, topic: str, now_ms: int) -> list[WorkerHeartbeat]:
    """The workers that live, as they note it themselves."""
    stored = {
        name.decode("utf-8", "replace"): value
        for name, value in redis.hgetall(workers_key(topic)).items()
    }
    return alive(decode_heartbeats(stored), now_ms)


def _counters(blob: bytes) -> Counters:
    try:
        return msgspec.convert(decode_state(MONITOR_STATE_KIND, blob), Counters)
    except msgspec.ValidationError as error:
        raise CorruptState(str(error)) from error
