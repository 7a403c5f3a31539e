"""Kafka and Valkey of the harness's own: it kills them, and keeps their data."""

from __future__ import annotations

import random
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import redis

from driftline.stack.kafka import ApacheKafka
from driftline.stack.process import data_folder
from driftline.stack.valkey import Valkey
from tests.chaos.proxy import Proxy

MAX_TORN_BYTES: Final = 20_000


class Servers:
    """A broker, a store with an append-only file, and the line that workers reach it by."""

    def __enter__(self) -> Self:
        self._folder = data_folder()
        self.folder: Path = self._folder.__enter__()
        self.kafka = ApacheKafka(self.folder)
        self.valkey = Valkey(self.folder, append_only=True)
        place = urlsplit(self.valkey.url)
        self.proxy = Proxy(place.hostname or "", place.port or 0)
        self.valkey.start()
        self.kafka.start()
        self.proxy.start()
        self.redis: Any = redis.Redis.from_url(self.valkey.url)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.redis.close()
        self.proxy.stop()
        self.kafka.kill()
        self.valkey.process.kill()
        self._folder.__exit__(kind, error, trace)

    @property
    def line_url(self) -> str:
        """The store, through the proxy."""
        return f"redis://127.0.0.1:{self.proxy.port}/0"

    def tear(self, chance: random.Random) -> int:
        """Cut bytes off the end of the append-only file, as a power cut does; answers how many."""
        logs = sorted((self.folder / "valkey" / "appendonlydir").glob("*.incr.aof"))
        size = logs[-1].stat().st_size
        torn = min(size, chance.randint(1, MAX_TORN_BYTES))
        with logs[-1].open("r+b") as log:
            log.truncate(size - torn)
        return torn
