"""A state store in memory, with the same contract as the Redis store."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence

from stream_monitor.core.spec import MonitorSpec
from stream_monitor.runtime.partitions import OwnedPartition
from stream_monitor.state.partition_state import PartitionStateFactory
from stream_monitor.state.redis_store import RedisStateStore
from stream_monitor.state.store import (
    ATTEMPT_FIELD,
    CHUNKED_FIELD,
    OUTBOX,
    STOPPED,
    Acquired,
    AcquireRejected,
    AttemptMarker,
    Commit,
    CommitOutcome,
    CommitResult,
    check_size,
)


class InMemoryStateStore(RedisStateStore):
    """The store in this process; every method is replaced, and no client is connected."""

    def __init__(self, owner_timeout_ms: int = 30_000) -> None:
        self._owner_timeout_ms = owner_timeout_ms
        self.hashes: dict[str, dict[str, bytes]] = {}
        self.windows: dict[str, tuple[bytes, int]] = {}
        self._performance: dict[str, int] = {}

    async def acquire(
        self, key: str, generation: int, member: str, now_ms: int
    ) -> Acquired | AcquireRejected:
        stored = self.hashes.setdefault(key, {})
        owner = int(stored.get("_gen", b"-1"))
        silent_ms = abs(now_ms - int(stored.get("_ts", b"0")))
        holder = stored.get("_member", b"").decode()
        if generation < owner and holder != member and silent_ms < self._owner_timeout_ms:
            return AcquireRejected(owner, holder, silent_ms)
        offset = stored.get("_next", b"-1")
        again = stored.get("_acqnext") == offset
        former = int(stored.get("_att", b"0")) if again else 0
        attempts = max(1, former + (holder != member))
        fencing_token = secrets.token_hex(8)
        stored.update(
            _epoch=fencing_token.encode(),
            _gen=str(generation).encode(),
            _member=member.encode(),
            _ts=str(now_ms).encode(),
            _acqnext=offset,
            _att=str(attempts).encode(),
            _stopped=b"",
        )
        return Acquired(
            fencing_token,
            None if offset == b"-1" else int(offset),
            attempts,
            AttemptMarker.read(stored.get(ATTEMPT_FIELD, b"")),
            bool(stored.get(CHUNKED_FIELD)),
        )

    async def read(self, key: str, fields: Sequence[str]) -> list[bytes | None]:
        stored = self.hashes.get(key, {})
        return [stored.get(field) for field in fields]

    async def load(self, key: str) -> dict[str, bytes]:
        stored = self.hashes.get(key, {})
        return {field: value for field, value in stored.items() if not field.startswith("_")}

    async def commit(self, key: str, commit: Commit) -> CommitResult:
        check_size(key, commit)
        stored = self.hashes.setdefault(key, {})
        offset = stored.get("_next", b"-1").decode()
        if stored.get("_txn") == commit.txn.encode():
            return CommitResult(CommitOutcome.DUP, offset)
        if stored.get("_epoch") != commit.fencing_token.encode():
            return CommitResult(CommitOutcome.FENCED, offset)
        if offset != str(-1 if commit.expect is None else commit.expect):
            return CommitResult(CommitOutcome.STALE, offset)
        if bool(stored.get(CHUNKED_FIELD)) != commit.chunked:
            return CommitResult(CommitOutcome.STALE, offset)
        stored.update(commit.fields)
        stored.update(
            _next=str(commit.next).encode(),
            _txn=commit.txn.encode(),
            _ts=str(commit.now_ms).encode(),
        )
        return CommitResult(CommitOutcome.OK, str(commit.next))

    async def outbox(self, key: str) -> dict[str, bytes]:
        stored = self.hashes.get(key, {})
        return {field: value for field, value in stored.items() if field.startswith(OUTBOX)}

    async def discard(self, key: str, fields: Sequence[str]) -> None:
        stored = self.hashes.get(key, {})
        for field in fields:
            stored.pop(field, None)

    async def write_fields(self, key: str, fields: Mapping[str, bytes]) -> None:
        self.hashes.setdefault(key, {}).update(fields)

    async def sweep(self, key: str, fencing_token: str, fields: Sequence[str]) -> int:
        stored = self.hashes.get(key, {})
        if stored.get("_epoch") != fencing_token.encode():
            return 0
        dead = [field for field in fields if stored.get(field) == b""]
        await self.discard(key, dead)
        return len(dead)

    async def release(self, key: str, fencing_token: str) -> bool:
        stored = self.hashes.get(key, {})
        if stored.get("_epoch") != fencing_token.encode():
            return False
        stored.update(_ts=b"0", _att=b"0")
        return True

    async def stop(self, key: str, fencing_token: str, why: str) -> bool:
        stored = self.hashes.get(key, {})
        if stored.get("_epoch") != fencing_token.encode():
            return False
        stored[STOPPED] = why.encode()
        return True

    async def quarantine(self, key: str, now_ms: int) -> str:
        name = f"{key}:quarantine:{now_ms}"
        if key in self.hashes:
            self.hashes[name] = self.hashes.pop(key)
        return name

    async def publish_window(self, redis_key: str, json: bytes, ttl_ms: int) -> None:
        self.windows[redis_key] = (json, ttl_ms)

    async def publish_performance(
        self, redis_key: str, json: bytes, offset: int, ttl_ms: int
    ) -> None:
        if offset >= self._performance.get(redis_key, 0):
            self._performance[redis_key] = offset
            self.windows[redis_key] = (json, ttl_ms)

    async def check(self, keys: Sequence[str] = ()) -> str | None:
        """Return no warning."""
        del keys
        return None

    async def ping(self) -> None:
        """Do nothing: memory always answers."""

    async def close(self) -> None:
        """Do nothing: there is no connection."""


async def new_partition(store: InMemoryStateStore, spec: MonitorSpec, topic: str) -> OwnedPartition:
    """Acquire partition 0 of a topic under the key ``key``; nothing of it is stored yet."""
    acquired = await store.acquire("key", 1, "member", 0)
    assert isinstance(acquired, Acquired)
    return OwnedPartition(
        topic=topic,
        partition=0,
        key="key",
        fencing_token=acquired.fencing_token,
        fetch_generation="e",
        partition_state=PartitionStateFactory(spec, "driftline").new(topic, 0),
        position=0,
        committed=None,
        last_record_s=time.monotonic(),
    )
