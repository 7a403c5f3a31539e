"""Hashes of Redis in dictionaries, for the readers of the monitor's state."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase


class RedisHashes:
    """A `RedisReader` of these hashes, by their keys."""

    def __init__(self, hashes: Mapping[str, Mapping[str, bytes]]) -> None:
        self._hashes = hashes

    def hgetall(self, name: str) -> dict[bytes, bytes]:
        return {field.encode(): value for field, value in self._hashes.get(name, {}).items()}

    def hkeys(self, name: str) -> list[bytes]:
        return list(self.hgetall(name))

    def hmget(self, name: str, keys: list[str]) -> list[bytes | None]:
        return [self._hashes.get(name, {}).get(key) for key in keys]

    def hscan_iter(self, name: str, match: str, count: int = 10) -> list[tuple[bytes, bytes]]:
        del count
        found = self.hgetall(name).items()
        return [(field, value) for field, value in found if fnmatchcase(field.decode(), match)]

    def scan_iter(self, match: str, count: int = 10) -> list[bytes]:
        del count
        return [key.encode() for key in self._hashes if fnmatchcase(key, match)]
