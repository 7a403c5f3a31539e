"""Kafka and Valkey that a test may kill, with the data they keep over a restart."""

from __future__ import annotations

import random
import resource
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import redis

from driftline.stack.apache_kafka import ApacheKafka, fetch_jars
from driftline.stack.server_process import free_port
from driftline.stack.temporary_folder import temporary_folder
from driftline.stack.valkey import Valkey
from tests.chaos.proxy import Proxy

MAX_TORN_BYTES: Final = 20_000


class Servers:
    """A broker, a store with an append-only file, and the lines that workers reach them by."""

    def __enter__(self) -> Self:
        fetch_jars()  # on a new machine nothing else has
        self._folder = temporary_folder("stack")
        self.folder: Path = self._folder.__enter__()
        self.kafka = ApacheKafka(self.folder)
        self.valkey = Valkey(self.folder, append_only=True)
        place = urlsplit(self.valkey.url)
        self.proxy = Proxy(place.hostname or "", place.port or 0)
        self.broker_line = Proxy("127.0.0.1", free_port())
        self._advertise(self.broker_line)
        self.valkey.start()
        self.kafka.start()
        self.proxy.start()
        self.broker_line.start()
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
        self.broker_line.stop()
        self.kafka.kill()
        self.valkey.process.kill()
        self._folder.__exit__(kind, error, trace)

    @property
    def line_url(self) -> str:
        """The store, through the proxy."""
        return f"redis://127.0.0.1:{self.proxy.port}/0"

    @property
    def line_brokers(self) -> str:
        """The broker, through its proxy; its advertised address leads there as well."""
        return f"127.0.0.1:{self.broker_line.port}"

    def fill_disk(self) -> None:
        """Let the append-only file grow no further: what the store writes to it fails."""
        self._file_size(max(log.stat().st_size for log in self._append_only()))

    def free_disk(self) -> None:
        """Memory is free again."""
        self._file_size(resource.RLIM_INFINITY)

    def rejects_writes(self) -> bool:
        """Whether the store takes no writes now."""
        try:
            self.redis.set("chaos:free", 1)
        except redis.ResponseError:
            return True
        return False

    def _file_size(self, limit: int) -> None:
        """For the server as it runs; its start through Python made it ignore the signal."""
        assert self.valkey.process.pid is not None
        _soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.prlimit(self.valkey.process.pid, resource.RLIMIT_FSIZE, (limit, hard))

    def _append_only(self) -> list[Path]:
        return sorted((self.folder / "valkey" / "appendonlydir").glob("*.incr.aof"))

    def _advertise(self, line: Proxy) -> None:
        """A second listener, which the broker advertises at the proxy's port."""
        written = self.kafka._properties.read_text().splitlines()
        lines = dict(one.split("=", 1) for one in written)
        lines |= {
            "listeners": f"{lines['listeners']},LINE://127.0.0.1:{line.target_port}",
            "advertised.listeners": f"{lines['advertised.listeners']},LINE://127.0.0.1:{line.port}",
            "inter.broker.listener.name": "PLAINTEXT",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,"
            "LINE:PLAINTEXT",
        }
        self.kafka._properties.write_text("".join(f"{k}={v}\n" for k, v in lines.items()))

    def tear(self, chance: random.Random) -> int:
        """Cut bytes off the end of the append-only file, as a power cut does; answers how many."""
        logs = self._append_only()
        size = logs[-1].stat().st_size
        torn = min(size, chance.randint(1, MAX_TORN_BYTES))
        with logs[-1].open("r+b") as log:
            log.truncate(size - torn)
        return torn
