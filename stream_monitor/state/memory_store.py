"""The store in a dictionary: the same contract as Redis, for tests and dry runs."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence

from stream_monitor.state.store import (
    BUNDLED,
    OUTBOX,
    STOPPED,
    TRIED,
    Acquired,
    Commit,
    Committed,
    Outcome,
    Refused,
    Tried,
    refuse_large,
)


class InMemoryStateStore:
    """A `StateStore` that ends with the process.  ``takeover_ms``: see `RedisStateStore`."""

    def __init__(self, takeover_ms: int = 30_000) -> None:
        self._takeover_ms = takeover_ms
        self.hashes: dict[str, dict[str, bytes]] = {}
        self.windows: dict[str, tuple[bytes, int]] = {}
        self._figures: dict[str, int] = {}

    async def acquire(
        self, key: str, generation: int, member: str, now_ms: int
    ) -> Acquired | Refused:
        """As `StateStore` says."""
        stored = self.hashes.setdefault(key, {})
        owner = int(stored.get("_gen", b"-1"))
        silent_ms = abs(now_ms - int(stored.get("_ts", b"0")))
        holder = stored.get("_member", b"").decode()
        if generation < owner and holder != member and silent_ms < self._takeover_ms:
            return Refused(owner, holder, silent_ms)
        offset = stored.get("_next", b"-1")
        again = stored.get("_acqnext") == offset
        former = int(stored.get("_att", b"0")) if again else 0
        attempts = max(1, former + (holder != member))
        epoch = secrets.token_hex(8)
        stored.update(
            _epoch=epoch.encode(),
            _gen=str(generation).encode(),
            _member=member.encode(),
            _ts=str(now_ms).encode(),
            _acqnext=offset,
            _att=str(attempts).encode(),
            _stopped=b"",
        )
        return Acquired(
            epoch,
            None if offset == b"-1" else int(offset),
            attempts,
            Tried.read(stored.get(TRIED, b"")),
            bool(stored.get(BUNDLED)),
        )

    async def read(self, key: str, fields: Sequence[str]) -> list[bytes | None]:
        """As `StateStore` says."""
        stored = self.hashes.get(key, {})
        return [stored.get(field) for field in fields]

    async def load(self, key: str) -> dict[str, bytes]:
        """As `StateStore` says."""
        stored = self.hashes.get(key, {})
        return {field: value for field, value in stored.items() if not field.startswith("_")}

    async def commit(self, key: str, commit: Commit) -> Committed:
        """As `StateStore` says."""
        refuse_large(key, commit)
        stored = self.hashes.setdefault(key, {})
        offset = stored.get("_next", b"-1").decode()
        if stored.get("_txn") == commit.txn.encode():
            return Committed(Outcome.DUP, offset)
        if stored.get("_epoch") != commit.epoch.encode():
            return Committed(Outcome.FENCED, offset)
        if offset != str(-1 if commit.expect is None else commit.expect):
            return Committed(Outcome.STALE, offset)
        if bool(stored.get(BUNDLED)) != commit.bundled:
            return Committed(Outcome.STALE, offset)
        stored.update(commit.fields)
        stored.update(
            _next=str(commit.next).encode(),
            _txn=commit.txn.encode(),
            _ts=str(commit.now_ms).encode(),
        )
        return Committed(Outcome.OK, str(commit.next))

    async def outbox(self, key: str) -> dict[str, bytes]:
        """As `StateStore` says."""
        stored = self.hashes.get(key, {})
        return {field: value for field, value in stored.items() if field.startswith(OUTBOX)}

    async def discard(self, key: str, fields: Sequence[str]) -> None:
        """As `StateStore` says."""
        stored = self.hashes.get(key, {})
        for field in fields:
            stored.pop(field, None)

    async def note(self, key: str, fields: Mapping[str, bytes]) -> None:
        """As `StateStore` says."""
        self.hashes.setdefault(key, {}).update(fields)

    async def sweep(self, key: str, epoch: str, fields: Sequence[str]) -> int:
        """As `StateStore` says."""
        stored = self.hashes.get(key, {})
        if stored.get("_epoch") != epoch.encode():
            return 0
        dead = [field for field in fields if stored.get(field) == b""]
        await self.discard(key, dead)
        return len(dead)

    async def release(self, key: str, epoch: str) -> bool:
        """As `StateStore` says."""
        stored = self.hashes.get(key, {})
        if stored.get("_epoch") != epoch.encode():
            return False
        stored.update(_ts=b"0", _att=b"0")
        return True

    async def stop(self, key: str, epoch: str, why: str) -> bool:
        """As `StateStore` says."""
        stored = self.hashes.get(key, {})
        if stored.get("_epoch") != epoch.encode():
            return False
        stored[STOPPED] = why.encode()
        return True

    async def quarantine(self, key: str, now_ms: int) -> str:
        """As `StateStore` says."""
        name = f"{key}:quarantine:{now_ms}"
        if key in self.hashes:
            self.hashes[name] = self.hashes.pop(key)
        return name

    async def publish_window(self, redis_key: str, json: bytes, ttl_ms: int) -> None:
        """As `StateStore` says."""
        self.windows[redis_key] = (json, ttl_ms)

    async def publish_figures(self, redis_key: str, json: bytes, offset: int, ttl_ms: int) -> None:
        """As `StateStore` says."""
        if offset >= self._figures.get(redis_key, 0):
            self._figures[redis_key] = offset
            self.windows[redis_key] = (json, ttl_ms)

    async def check(self, keys: Sequence[str] = ()) -> str | None:
        """Nothing to check."""
        del keys
        return None

    async def ping(self) -> None:
        """Always there."""

    async def close(self) -> None:
        """Nothing to let go."""
