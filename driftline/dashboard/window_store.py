"""Reads closed windows and their performance from Redis, each window once.

Windows do not change after they are closed; their performance changes while labels arrive.  At most
`MAX_FEATURE_WINDOWS` features of windows are kept, the newest of each model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import msgspec

from producer.names import parse_version_key
from stream_monitor.windows.closed_window import SHADOW, ClosedWindow
from stream_monitor.windows.performance import WindowPerformance, performance_key

if TYPE_CHECKING:
    from redis import Redis

MAX_FEATURE_WINDOWS: Final = 120_000
_LEAST_WINDOWS: Final = 48
_KEYS_AT_ONCE: Final = 500
_KEY: Final = re.compile(r"(.+)/(-?[0-9]+)/([0-9]+)", re.DOTALL)
_T = TypeVar("_T", ClosedWindow, WindowPerformance)


class VersionWindows(NamedTuple):
    """The closed windows of one version, ascending, and the performance of some, by start and part.

    ``shadow``: its predictions were not used.
    """

    version: str
    shadow: bool
    windows: Sequence[ClosedWindow]
    performance: Sequence[WindowPerformance]


class WindowKey(NamedTuple):
    """The parts of the Redis key of a window."""

    model: str
    version: str
    shadow: bool
    start_ms: int
    key: str


def parse_window_key(prefix: str, key: str) -> WindowKey | None:
    """Parse the Redis key of a window; ``None`` if another program wrote it.

    >>> parse_window_key("d", "d:window:m%40x@2 (shadow)/60000/0")[:4]
    ('m@x', '2', True, 60000)
    >>> parse_window_key("d", "d:window:of_another_program") is None
    True
    """
    match = _KEY.fullmatch(key.removeprefix(f"{prefix}:window:"))
    if match is None:
        return None
    name = match[1]
    shadow = name.endswith(SHADOW)
    model, version = parse_version_key(name.removesuffix(SHADOW))
    if version is None:
        return None
    return WindowKey(model, version, shadow, int(match[2]), key)


class WindowStore:
    """The closed windows in Redis, by model."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._keys: dict[str, dict[str, WindowKey]] = {}
        self._loaded: dict[str, list[WindowKey]] = {}
        self._windows: dict[str, dict[str, ClosedWindow]] = {}
        self._performance: dict[str, dict[str, WindowPerformance]] = {}
        self._n_features: dict[str, int] = {}
        self.foreign: str = ""

    def scan(self, redis: Redis) -> None:
        """Find the keys of all windows."""
        found: dict[str, dict[str, WindowKey]] = {}
        self.foreign = ""
        for raw in redis.scan_iter(match=f"{self._prefix}:window:*", count=2_000):
            text = raw.decode(errors="replace")
            key = parse_window_key(self._prefix, text)
            if key is None:
                self.foreign = self.foreign or text
            else:
                found.setdefault(key.model, {})[text] = key
        self._keys = found

    @property
    def models(self) -> list[str]:
        """The models with windows, by name."""
        return sorted(self._keys)

    def served(self) -> dict[str, str]:
        """The version with the newest window of each model, shadow predictions left out."""
        newest: dict[str, str] = {}
        for model, keys in self._keys.items():
            used = [key for key in keys.values() if not key.shadow]
            if used:
                newest[model] = max(used, key=lambda key: key.start_ms).version
        return newest

    def newest_ms(self, model: str) -> int | None:
        """The start of the newest window of a model."""
        return max((key.start_ms for key in self._keys.get(model, {}).values()), default=None)

    def load(self, redis: Redis, model: str, n_models: int = 1) -> list[VersionWindows]:
        """The newest windows of a model, by version.

        ``n_models`` is the number of models that share the limit on what is kept.
        """
        n_features = max(1, self._n_features.get(model, 16))
        n_kept = max(_LEAST_WINDOWS, MAX_FEATURE_WINDOWS // n_models // n_features)
        newest = sorted(self._keys.get(model, {}).values(), key=lambda key: -key.start_ms)[:n_kept]
        known = self._windows.get(model, {})
        kept = {key.key: known[key.key] for key in newest if key.key in known}
        missing = [key.key for key in newest if key.key not in kept]
        kept |= _read(redis, {key: key for key in missing}, ClosedWindow)
        self._windows[model] = kept
        if kept:
            self._n_features[model] = max(len(window.features) for window in kept.values())
        self._loaded[model] = [key for key in newest if key.key in kept]
        return self.loaded(model)

    def load_performance(self, redis: Redis, model: str) -> list[VersionWindows]:
        """Read the performance of the windows that `load` read last; labels may have arrived."""
        keys = {
            key.key: performance_key(self._prefix, key.key) for key in self._loaded.get(model, [])
        }
        self._performance[model] = _read(redis, keys, WindowPerformance)
        return self.loaded(model)

    def loaded(self, model: str) -> list[VersionWindows]:
        """Return the windows that `load` read last, without reading again."""
        windows = self._windows.get(model, {})
        figures = self._performance.get(model, {})
        groups: dict[tuple[str, bool], list[str]] = {}
        for key in self._loaded.get(model, []):
            groups.setdefault((key.version, key.shadow), []).append(key.key)
        return [
            VersionWindows(
                version,
                shadow,
                sorted((windows[key] for key in keys), key=lambda window: window.start_ms),
                [figures[key] for key in keys if key in figures],
            )
            for (version, shadow), keys in sorted(groups.items())
        ]

    def forget(self, kept: Iterable[str]) -> None:
        """Drop the windows of all models but ``kept``."""
        names = set(kept)
        for model in [name for name in self._loaded if name not in names]:
            del self._loaded[model], self._windows[model]
            self._performance.pop(model, None)


def _read(redis: Redis, keys: Mapping[str, str], kind: type[_T]) -> dict[str, _T]:
    """Decode the values of ``keys`` (name to Redis key); others than driftline's are left out."""
    found: dict[str, _T] = {}
    decoder = msgspec.json.Decoder(kind)
    names = list(keys)
    for start in range(0, len(names), _KEYS_AT_ONCE):
        part = names[start : start + _KEYS_AT_ONCE]
        for name, blob in zip(part, redis.mget([keys[name] for name in part]), strict=True):
            try:
                if blob:
                    found[name] = decoder.decode(blob)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                continue
    return found
