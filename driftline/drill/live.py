"""The live model of a drill, as the monitor watches it: read from Redis, without taking part."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Protocol

from driftline.partition_state import KIND
from producer.drill import is_shadow, is_shadow_of
from producer.names import escape, unescape
from stream_monitor.reference.profile import ReferenceProfile
from stream_monitor.state.envelope import open_
from stream_monitor.state.fold import STATE
from stream_monitor.state.redis_store import partition_key
from stream_monitor.watched.stored import StoredVersion, is_about_versions, versions_in

_MODEL: Final = f"{STATE}model|"
_NAMES: Final = f"{_MODEL}*|model"


class NotWatched(LookupError):  # noqa: N818 - a finding, named for what it says
    """There is no version to be compared with; the text says why, ``fix`` what to do."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what)
        self.fix = fix


class Hashes(Protocol):
    """The part of a Redis client that is used here."""

    def hmget(self, name: str, keys: list[str]) -> Any: ...  # noqa: D102 - Redis says it
    def hkeys(self, name: str) -> Any: ...  # noqa: D102
    def hscan_iter(self, name: str, match: str) -> Any: ...  # noqa: D102


def models_in(redis: Hashes, topic: str, partition: int) -> set[str]:
    """The models a partition knows, shadows included."""
    names = redis.hscan_iter(partition_key(topic, partition), match=_NAMES)
    return {unescape(name.decode().split("|")[1]) for name, value in names if value}


def live_profile(
    redis: Hashes, topic: str, partitions: Iterable[int], model: str
) -> ReferenceProfile:
    """The reference of the version that serves, wherever the model's records lie.

    Raises:
        NotWatched: the monitor does not know the model, or it has no reference yet.
        CorruptState: what is stored does not read back.
    """
    known: set[str] = set()
    found: list[StoredVersion] = []
    for partition in partitions:
        here = models_in(redis, topic, partition)
        known |= here
        if model in here:
            found += _versions(redis, partition_key(topic, partition), model)
    if model not in known:
        there = ", ".join(sorted(name for name in known if not is_shadow(name)))
        raise NotWatched(
            f"the monitor knows no model {model!r}",
            f"one of {there}" if there else "driftline monitor, and a model that serves",
        )
    serving = [one for one in found if one.champion] or [one for one in found if not one.idle]
    if not serving:
        raise NotWatched(
            f"{model} has no reference yet: its first events are still collected",
            "wait for more events, or give it one: driftline profile send",
        )
    return max(serving, key=lambda one: one.start_offset).profile


def _versions(redis: Hashes, key: str, model: str) -> list[StoredVersion]:
    prefix = f"{_MODEL}{escape(model)}|"
    fields = [
        name
        for name in (raw.decode() for raw in redis.hkeys(key))
        if name.startswith(prefix) and is_about_versions(name.removeprefix(prefix))
    ]
    blobs = redis.hmget(key, fields)
    return versions_in({
        name.removeprefix(prefix): open_(KIND, blob)
        for name, blob in zip(fields, blobs, strict=True)
        if blob
    })  # fmt: skip


def shadows_left(
    redis: Hashes, topic: str, partitions: Iterable[int], model: str
) -> list[tuple[int, str]]:
    """Shadows of a model that are known in a partition: of drills that run, or that were killed."""
    return [
        (partition, name)
        for partition in partitions
        for name in sorted(models_in(redis, topic, partition))
        if is_shadow_of(name, model)
    ]
