"""Read the reference and event rate of the version in service, and synthetic models, from Redis."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from driftline.monitor_state.partition_state import RedisReader, partitions_in
from producer.names import escape, unescape, version_key
from producer.synthetic import is_synthetic, is_synthetic_copy_of
from stream_monitor.core.stored_versions import StoredVersion, is_about_versions, versions_in
from stream_monitor.reference.profile import ReferenceProfile
from stream_monitor.reference.season import HOUR_MS
from stream_monitor.state.codec import unwrap
from stream_monitor.state.partition_state import KIND, STATE
from stream_monitor.state.redis_store import partition_key
from stream_monitor.state_parts import StoredParts
from stream_monitor.windows.closed_window import ClosedWindow

if TYPE_CHECKING:
    from redis import Redis

_MODEL: Final = f"{STATE}model|"
_NAMES: Final = f"{_MODEL}*|model"


class NotWatchedError(LookupError):
    """The monitor has no reference of a model; ``fix`` has the next step."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what)
        self.fix = fix


def known_models(redis: RedisReader, topic: str, partition: int) -> set[str]:
    """The models that a partition watches, synthetic models included."""
    names = redis.hscan_iter(partition_key(topic, partition), match=_NAMES)
    return {unescape(name.decode().split("|")[1]) for name, value in names if value}


def served_profile(
    redis: RedisReader, topic: str, partitions: Iterable[int], model: str
) -> ReferenceProfile:
    """The reference of the model's version in service, from any of the partitions.

    Raises:
        NotWatchedError: the monitor does not know the model, or it has no reference yet.
        CorruptState: the stored state cannot be decoded.
    """
    known: set[str] = set()
    found: list[StoredVersion] = []
    for partition in partitions:
        here = known_models(redis, topic, partition)
        known |= here
        if model in here:
            found += _versions(redis, partition_key(topic, partition), model)
    if model not in known:
        there = ", ".join(sorted(name for name in known if not is_synthetic(name)))
        raise NotWatchedError(
            f"the monitor does not know a model {model!r}",
            f"choose one of {there}"
            if there
            else "start driftline monitor, and a model server that publishes events",
        )
    serving = [one for one in found if one.champion] or [one for one in found if not one.idle]
    if not serving:
        raise NotWatchedError(
            f"{model} has no reference yet: the monitor is still collecting its first events",
            "wait for more events, or announce a profile: driftline profile send",
        )
    return max(serving, key=lambda one: one.start_offset).profile


def _versions(redis: RedisReader, key: str, model: str) -> list[StoredVersion]:
    prefix = f"{_MODEL}{escape(model)}|"
    fields = [
        name
        for name in (raw.decode() for raw in redis.hkeys(key))
        if name.startswith(prefix) and is_about_versions(name.removeprefix(prefix))
    ]
    blobs = redis.hmget(key, fields)
    return versions_in(
        StoredParts(
            {
                name.removeprefix(prefix): unwrap(KIND, blob)
                for name, blob in zip(fields, blobs, strict=True)
                if blob
            }
        )
    )


def leftover_synthetic_models(
    redis: RedisReader, topic: str, partitions: Iterable[int], model: str
) -> list[tuple[int, str]]:
    """The synthetic models of ``model`` by partition: of running and of killed drills."""
    return [
        (partition, name)
        for partition in partitions
        for name in sorted(known_models(redis, topic, partition))
        if is_synthetic_copy_of(name, model)
    ]


LAST_WINDOWS: Final = 24


class WatchedModel(NamedTuple):
    """The reference of the version in service, and its events an hour.

    ``per_hour`` is ``None`` before the first window closed.
    """

    profile: ReferenceProfile
    per_hour: float | None


def read_watched_model(redis: Redis, topic: str, prefix: str, model: str) -> WatchedModel:
    """The reference and the event rate of a model.

    Raises:
        NotWatchedError: the monitor does not know the model, or it has no reference yet.
        CorruptState: the stored state cannot be decoded.
    """
    profile = served_profile(redis, topic, partitions_in(redis, topic), model)
    of_version = version_key(model, profile.version)  # contains no wildcard characters
    pattern = f"{prefix}:window:{of_version}/*"
    scanned = [key.decode(errors="replace") for key in redis.scan_iter(match=pattern, count=1_000)]
    keys = [key for key in scanned if _is_window(key)]
    starts = sorted({_start_ms(key) for key in keys})
    starts = starts[1:][-LAST_WINDOWS:] or starts  # events may start in the middle of the first
    blobs = redis.mget([key for key in keys if _start_ms(key) in starts]) if keys else []
    windows = [msgspec.json.decode(blob, type=ClosedWindow) for blob in blobs if blob]
    return WatchedModel(profile, events_per_hour(windows))


def _is_window(key: str) -> bool:
    """Whether a key ends like that of a window; other programs may use the same prefix."""
    return all(part.lstrip("-").isdecimal() for part in key.rsplit("/", 2)[1:])


def _start_ms(key: str) -> int:
    return int(key.rsplit("/", 2)[1])


def events_per_hour(windows: Iterable[ClosedWindow]) -> float | None:
    """The event rate of a version from its closed windows; ``None`` without windows."""
    found = list(windows)
    if not found:
        return None
    span_ms = max(one.end_ms for one in found) - min(one.start_ms for one in found)
    return sum(one.n_events for one in found) * HOUR_MS / span_ms
