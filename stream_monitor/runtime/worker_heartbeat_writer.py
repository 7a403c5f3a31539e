"""Writes the heartbeat of a worker to the store, and removes expired ones of other workers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import Final

import msgspec

from stream_monitor.runtime.clock import wall_clock_ms
from stream_monitor.runtime.partitions import OwnedPartitions
from stream_monitor.state.redis_store import RedisStateStore
from stream_monitor.state.store import StoreUnavailable
from stream_monitor.worker_heartbeat import WorkerHeartbeat, decode_heartbeats, expired, workers_key

HEARTBEAT_INTERVAL_S: Final = 15.0
OWNERSHIP_CHECK_S: Final = 1.0


class WorkerHeartbeatWriter:
    """Writes the heartbeat of one worker.  ``web`` is its HTTP address, once it listens."""

    def __init__(
        self, store: RedisStateStore, partitions: OwnedPartitions, topic: str, member: str
    ) -> None:
        self._store, self._partitions, self._member = store, partitions, member
        self._key = workers_key(topic)
        self.web = ""
        self._written: list[int] | None = None
        self._removed = False
        self._lock = asyncio.Lock()

    async def write_if_changed(self) -> None:
        """Write the heartbeat if this worker owns other partitions than it states."""
        if self._owned() != self._written:
            await self.write()

    def _owned(self) -> list[int]:
        return sorted(owned.partition for owned in self._partitions)

    async def write(self) -> None:
        """Write the heartbeat; if the store is unreachable, the next call repeats it."""
        async with self._lock:
            if not self._removed:  # a write after the removal would state a stopped worker
                await self._write()

    async def _write(self) -> None:
        now_ms, owned = wall_clock_ms(), self._owned()
        note = WorkerHeartbeat(
            member=self._member,
            host=socket.gethostname(),
            pid=os.getpid(),
            time_ms=now_ms,
            partitions=owned,
            web=self.web,
        )
        with contextlib.suppress(StoreUnavailable):
            await self._store.write_fields(self._key, {self._member: msgspec.json.encode(note)})
            self._written = owned
            others = decode_heartbeats(await self._store.load(self._key))
            await self._store.discard(self._key, expired(others, now_ms))

    async def remove(self) -> None:
        """Remove the heartbeat at an orderly stop of the worker."""
        async with self._lock:
            self._removed = True
            with contextlib.suppress(StoreUnavailable):
                await self._store.discard(self._key, [self._member])
