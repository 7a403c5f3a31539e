"""Reads the models that the monitor knows, and their references, from Redis."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from driftline.monitor_state.partition_state import RedisReader
from producer.names import unescape
from producer.synthetic import is_synthetic
from stream_monitor.core.model import ModelState
from stream_monitor.reference.profile import ReferenceProfile
from stream_monitor.state.codec import decode_state
from stream_monitor.state.partition_state import KIND, STATE, profile_field, profile_in
from stream_monitor.state.redis_store import SCAN_COUNT, partition_key

_MODEL: Final = f"{STATE}model|"
_FIELDS: Final = f"{_MODEL}*|model"


class ReferenceStore:
    """The references of all versions, as the monitor uses them.

    A reference is read again when its version starts at another offset: it was replaced.
    """

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._states: dict[tuple[str, int], ModelState] = {}
        self._profiles: dict[tuple[str, int, str], tuple[int, ReferenceProfile]] = {}

    def scan(self, redis: RedisReader, partitions: Iterable[int]) -> None:
        """Find all models with their versions.

        Raises:
            CorruptState: the stored state cannot be decoded.
        """
        states: dict[tuple[str, int], ModelState] = {}
        for partition in partitions:
            key = partition_key(self._topic, partition)
            for raw, blob in redis.hscan_iter(key, match=_FIELDS, count=SCAN_COUNT):
                parts = raw.decode().removeprefix(_MODEL).split("|")
                if blob and len(parts) == 2 and not is_synthetic(unescape(parts[0])):
                    states[unescape(parts[0]), partition] = decode_state(KIND, blob, ModelState)
        self._states = states
        live = {
            (model, partition, version)
            for (model, partition), state in states.items()
            for version in state.start_offsets
        }
        self._profiles = {key: known for key, known in self._profiles.items() if key in live}

    @property
    def models(self) -> list[str]:
        """The models in the monitor's state, by name."""
        return sorted({model for model, _ in self._states})

    def warming_up(self, model: str) -> list[str]:
        """The versions of a model whose first events are being collected as their reference."""
        found = {
            v for (name, _), state in self._states.items() if name == model for v in state.warm_ups
        }
        return sorted(found)

    def partitions_of(self, model: str) -> list[int]:
        """The partitions that watch a model."""
        return sorted(partition for name, partition in self._states if name == model)

    def load(self, redis: RedisReader, model: str) -> dict[str, ReferenceProfile]:
        """The reference of each version of a model, the oldest version first.

        Raises:
            CorruptState: the stored state cannot be decoded.
        """
        found: dict[str, tuple[int, ReferenceProfile]] = {}
        for (name, partition), state in sorted(self._states.items(), key=lambda each: each[0]):
            if name != model:
                continue
            for version, offset in state.start_offsets.items():
                key = (model, partition, version)
                known = self._profiles.get(key)
                if known is None or known[0] != offset:
                    profile = self._read(redis, model, partition, version)
                    if profile is None:
                        continue
                    known = self._profiles[key] = (offset, profile)
                found.setdefault(version, known)
        return {v: profile for v, (_, profile) in sorted(found.items(), key=lambda e: e[1][0])}

    def _read(
        self, redis: RedisReader, model: str, partition: int, version: str
    ) -> ReferenceProfile | None:
        key = partition_key(self._topic, partition)
        (blob,) = redis.hmget(key, [profile_field(model, version)])
        return profile_in(blob) if blob else None
