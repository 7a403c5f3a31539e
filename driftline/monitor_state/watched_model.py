"""Read the reference and the event rate of a watched model from Redis."""

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
