"""A model that the running monitor watches: its reference and its rate, read from Redis."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from driftline.monitor_state.partition_state import partitions_in
from driftline.monitor_state.served_profile import served_profile
from producer.names import version_key
from stream_monitor.reference.profile import ReferenceProfile
from stream_monitor.reference.season import HOUR_MS
from stream_monitor.windows.closed_window import ClosedWindow

if TYPE_CHECKING:
    from redis import Redis

LAST_WINDOWS: Final = 24


class WatchedModel(NamedTuple):
    """The reference of the version that serves; ``per_hour`` None: no window of it closed yet."""

    profile: ReferenceProfile
    per_hour: float | None


def read_watched_model(redis: Redis, topic: str, prefix: str, model: str) -> WatchedModel:
    """What the monitor holds of a model.

    Raises:
        NotWatchedError: the monitor does not know the model, or it has no reference yet.
        CorruptState: what is stored does not read back.
    """
    profile = served_profile(redis, topic, partitions_in(redis, topic), model)
    of_version = version_key(model, profile.version)  # no sign of patterns in it
    pattern = f"{prefix}:window:{of_version}/*"
    scanned = [key.decode(errors="replace") for key in redis.scan_iter(match=pattern, count=1_000)]
    keys = [key for key in scanned if _is_window(key)]
    starts = sorted({_start_ms(key) for key in keys})
    starts = starts[1:][-LAST_WINDOWS:] or starts  # the first one began within its window
    blobs = redis.mget([key for key in keys if _start_ms(key) in starts]) if keys else []
    windows = [msgspec.json.decode(blob, type=ClosedWindow) for blob in blobs if blob]
    return WatchedModel(profile, events_per_hour(windows))


def _is_window(key: str) -> bool:
    """Whether a key ends as those of windows do; another program's may lie among them."""
    return all(part.lstrip("-").isdecimal() for part in key.rsplit("/", 2)[1:])


def _start_ms(key: str) -> int:
    return int(key.rsplit("/", 2)[1])


def events_per_hour(windows: Iterable[ClosedWindow]) -> float | None:
    """Of closed windows of one version, those of several partitions added; ``None`` of none."""
    found = list(windows)
    if not found:
        return None
    span_ms = max(one.end_ms for one in found) - min(one.start_ms for one in found)
    return sum(one.n_events for one in found) * HOUR_MS / span_ms
