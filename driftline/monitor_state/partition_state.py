"""Read a partition from Redis without owning it: position, counters, owner, and its monitor."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from stream_monitor.core.counters import Counters
from stream_monitor.state.codec import decode_state
from stream_monitor.state.partition_state import KIND, STATE, PartitionStateFactory
from stream_monitor.state.redis_store import SCAN_COUNT, partition_key
from stream_monitor.state.store import STOPPED
from stream_monitor.worker_heartbeat import WorkerHeartbeat, alive, decode_heartbeats, workers_key

if TYPE_CHECKING:
    from redis import Redis

    from stream_monitor.core.partition import PartitionMonitor
    from stream_monitor.settings import Settings


class RedisReader(Protocol):
    """Reading commands of `redis.Redis`, typed without its union of results and awaitables."""

    def hmget(self, name: str, keys: list[str]) -> Any: ...  # noqa: D102 - Redis documents it
    def hkeys(self, name: str) -> Any: ...  # noqa: D102
    def hgetall(self, name: str) -> Any: ...  # noqa: D102
    def hscan_iter(self, name: str, match: str, count: int = ...) -> Any: ...  # noqa: D102
    def scan_iter(self, match: str, count: int) -> Any: ...  # noqa: D102


_COUNTERS: Final = f"{STATE}counters"


def partitions_in(redis: RedisReader, topic: str) -> list[int]:
    """The partitions of a topic with a state in Redis; Kafka is not used."""
    head, tail = partition_key(topic, 0)[:-2], "}"
    keys = redis.scan_iter(match=f"{head}*{tail}", count=1_000)
    numbers = [key.decode().removeprefix(head).removesuffix(tail) for key in keys]
    return sorted(int(number) for number in numbers if number.isdecimal())


class PartitionState(NamedTuple):
    """The state of a partition.

    ``next`` is the offset to read next, ``None`` before the first commit.  ``unpublished`` counts
    alerts and windows that are committed and not published yet.  ``owner_wrote_ms`` is the time of
    the owner's last write, by its clock; ``None`` without an owner.  ``stopped`` is the reason why
    the owner no longer reads the partition; empty while it reads.
    """

    partition: int
    next: int | None
    counters: Counters
    unpublished: int
    member: str | None
    owner_wrote_ms: int | None
    stopped: str = ""

    def since_last_write_ms(self, now_ms: int) -> int | None:
        """The time since the owner's last write in ms; ``None`` without an owner."""
        return None if self.owner_wrote_ms is None else now_ms - self.owner_wrote_ms

    def behind_ms(self, now_ms: int) -> int | None:
        """The time since the append of the last processed record; ``None`` before the first."""
        return now_ms - self.counters.append_clock_ms if self.counters.append_clock_ms else None


def read_partition(redis: RedisReader, topic: str, partition: int) -> PartitionState:
    """Read the state of one partition.

    Raises:
        CorruptState: the counters cannot be decoded.
    """
    key = partition_key(topic, partition)
    asked = ["_next", _COUNTERS, "_member", "_ts", STOPPED]
    position, counters, member, seen, stopped = redis.hmget(key, asked)
    return PartitionState(
        partition=partition,
        next=None if position is None or int(position) < 0 else int(position),
        counters=decode_state(KIND, counters, Counters) if counters else Counters(),
        unpublished=sum(field.startswith(b"o:") for field in redis.hkeys(key)),
        member=None if member is None else member.decode("utf-8", "replace"),
        owner_wrote_ms=int(float(seen or 0)) or None,
        stopped=(stopped or b"").decode("utf-8", "replace"),
    )


def read_workers(redis: RedisReader, topic: str, now_ms: int) -> list[WorkerHeartbeat]:
    """The heartbeats of the running workers."""
    stored = {
        name.decode("utf-8", "replace"): value
        for name, value in redis.hgetall(workers_key(topic)).items()
    }
    return alive(decode_heartbeats(stored), now_ms)


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
