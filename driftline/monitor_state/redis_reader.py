"""The part of a Redis client that the command line uses to read the monitor's state."""

from __future__ import annotations

from typing import Any, Protocol


class RedisReader(Protocol):
    """Reading commands of `redis.Redis`, typed without its union of results and awaitables."""

    def hmget(self, name: str, keys: list[str]) -> Any: ...  # noqa: D102 - Redis documents it
    def hkeys(self, name: str) -> Any: ...  # noqa: D102
    def hgetall(self, name: str) -> Any: ...  # noqa: D102
    def hscan_iter(self, name: str, match: str, count: int = ...) -> Any: ...  # noqa: D102
    def scan_iter(self, match: str, count: int) -> Any: ...  # noqa: D102
