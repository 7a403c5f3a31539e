"""Keeps the note of this worker in the store, and removes those of workers that went long ago."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from typing import Final

import msgspec

from stream_monitor.runtime.partitions import OwnedPartitions
from stream_monitor.state.store import StateStore, StoreUnavailable
from stream_monitor.worker_heartbeat import WorkerHeartbeat, decode_heartbeats, expired, workers_key

HEARTBEAT_INTERVAL_S: Final = 15.0


class WorkerHeartbeatWriter:
    """One for a worker.  ``web`` is the address of its pages, once they are served."""

    def __init__(
        self, store: StateStore, partitions: OwnedPartitions, topic: str, member: str
    ) -> None:
        self._store, self._partitions, self._member = store, partitions, member
        self._key = workers_key(topic)
        self.web = ""

    async def write(self) -> None:
        """Write the note; where the store does not answer, the next one is soon enough."""
        now_ms = time.time_ns() // 1_000_000
        note = WorkerHeartbeat(
            member=self._member,
            host=socket.gethostname(),
            pid=os.getpid(),
            time_ms=now_ms,
            partitions=sorted(owned.partition for owned in self._partitions),
            web=self.web,
        )
        with contextlib.suppress(StoreUnavailable):
            await self._store.write_fields(self._key, {self._member: msgspec.json.encode(note)})
            others = decode_heartbeats(await self._store.load(self._key))
            await self._store.discard(self._key, expired(others, now_ms))

    async def remove(self) -> None:
        """Remove the note: this worker stops as it was asked to."""
        with contextlib.suppress(StoreUnavailable):
            await self._store.discard(self._key, [self._member])
