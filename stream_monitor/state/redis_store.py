"""The state store in Redis or Valkey: plain commands, and Lua scripts of one write each.

No command uses ``MULTI``; ``scripts/commit.lua`` has the reason.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from importlib.resources import files
from typing import Any, Final

import redis.asyncio as aioredis
from redis import exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from stream_monitor.state.store import (
    OUTBOX,
    Acquired,
    AcquireRejected,
    AttemptMarker,
    Commit,
    CommitOutcome,
    CommitResult,
    StoreMisconfigured,
    StoreUnavailable,
    check_size,
)

SCAN_COUNT: Final = 500
"""Fields per step of ``HSCAN``: ``HGETALL`` of a large hash blocks every other client."""
SWEEP_FIELDS: Final = 3_000
"""Fields per sweep: within the limit of Lua's ``unpack``."""

_LATER: Final = (
    "READONLY",
    "LOADING",
    "MISCONF",
    "BUSY",
    "NOREPLICAS",
    "TRYAGAIN",
    "CLUSTERDOWN",
    "MASTERDOWN",
    "UNKILLABLE",
    "NOSCRIPT",
)
"""Error codes of rejections that wrote nothing and may pass without a change."""
_LATER_BY_CLASS: Final = (
    exceptions.ReadOnlyError,
    exceptions.NoScriptError,
    exceptions.TryAgainError,
    exceptions.ClusterDownError,
    exceptions.MasterDownError,
)
"""The same, for codes that redis-py turns into a class and removes from the message."""
_REDIRECTS: Final = (exceptions.MovedError, exceptions.AskError, exceptions.ClusterCrossSlotError)
_NO_ACCESS: Final = ("NOPERM", "has no permissions", "can't run this command", "can't access")
ACL_RULES: Final = (
    "~driftline:* +ping +info +config|get +script|load +eval +evalsha +hget +hmget +hset +hdel "
    "+hkeys +hscan +get +set +exists +rename +scan +type"
)
"""Permissions that workers and commands need, as arguments of ``ACL SETUSER``."""
_MODES: Final = {
    "cluster": "this is a Redis Cluster; driftline keeps its state on one server. "
    "Fix: give it the address of a standalone Redis or Valkey",
    "sentinel": "this is a Redis Sentinel, not the server it watches. "
    "Fix: give the address of the primary (SENTINEL get-master-addr-by-name <name>)",
}


def partition_key(topic: str, partition: int) -> str:
    """The key of a partition's hash; the braces keep its keys in one cluster slot."""
    return f"driftline:{{{topic}:{partition}}}"


class RedisStateStore:
    """Stores the state of partitions.

    All methods but `commit` raise `StoreUnavailable`; all may raise `StoreMisconfigured`.
    A member of an older generation may acquire a partition when its owner has not written for
    ``owner_timeout_ms``: three session timeouts.  ``timeout_s`` bounds each request.  The client
    for commits never resends; the committer resends the same transaction, which the store
    recognises.
    """

    def __init__(self, url: str, *, owner_timeout_ms: int = 30_000, timeout_s: float = 5.0) -> None:
        self._owner_timeout_ms = owner_timeout_ms
        options: dict[str, Any] = {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s}
        self._redis = aioredis.Redis.from_url(url, **options)
        self._commits = aioredis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), **options)
        self._acquire = self._script("acquire", self._commits)
        self._commit = self._script("commit", self._commits)
        self._sweep = self._script("sweep", self._redis)
        self._release = self._script("release", self._redis)
        self._stop = self._script("stop", self._redis)
        self._performance = self._script("publish_performance", self._redis)

    @staticmethod
    def _script(name: str, client: aioredis.Redis) -> Any:
        source = files("stream_monitor.state").joinpath("scripts", f"{name}.lua").read_text("utf-8")
        return client.register_script(source)

    async def acquire(
        self, key: str, generation: int, member: str, now_ms: int
    ) -> Acquired | AcquireRejected:
        """Become the owner of a partition, with a new random fencing token."""
        args = [generation, member, now_ms, self._owner_timeout_ms, secrets.token_hex(8)]
        async with _reported():
            status, *rest = await self._acquire(keys=[key], args=args)
        if status == b"REJECTED":
            return AcquireRejected(int(rest[0]), rest[1].decode(), int(float(rest[2])))
        offset = int(rest[1])
        return Acquired(
            rest[0].decode(),
            None if offset < 0 else offset,
            int(rest[2]),
            AttemptMarker.read(rest[3]),
            bool(rest[4]),
        )

    async def read(self, key: str, fields: Sequence[str]) -> list[bytes | None]:
        """Some committed fields of any partition; no ownership is needed."""
        async with _reported():
            found: Any = await self._redis.hmget(key, list(fields))
        return list(found)

    async def load(self, key: str) -> dict[str, bytes]:
        """All fields except those of the store itself, which begin with ``_``."""
        fields: dict[str, bytes] = {}
        async with _reported():
            async for field, value in self._redis.hscan_iter(key, count=SCAN_COUNT):
                if not field.startswith(b"_"):
                    fields[field.decode()] = value
        return fields

    async def commit(self, key: str, commit: Commit) -> CommitResult:
        """Write state and offset together, if the partition is as `Commit` expects it.

        Raises:
            CommitTooLarge: there are more than `MAX_PAIRS` fields.
        """
        check_size(key, commit)
        expect = -1 if commit.expect is None else commit.expect
        chunked = "1" if commit.chunked else ""
        args: list[Any] = [
            commit.fencing_token,
            commit.txn,
            expect,
            commit.next,
            commit.now_ms,
            chunked,
        ]
        for pair in commit.fields.items():
            args.extend(pair)
        try:
            status, offset = await self._commit(keys=[key], args=args)
        except (exceptions.ConnectionError, exceptions.TimeoutError, OSError) as error:
            return CommitResult(CommitOutcome.UNKNOWN, repr(error))
        except exceptions.ResponseError as error:
            if _full(error):
                return CommitResult(CommitOutcome.OUT_OF_MEMORY, str(error))
            if _passes(error):
                return CommitResult(CommitOutcome.UNKNOWN, str(error))
            raise misconfiguration(error) or error from error
        return CommitResult(CommitOutcome(status.decode().lower()), offset.decode())

    async def outbox(self, key: str) -> dict[str, bytes]:
        """The outbox of a partition: the fields that begin with `OUTBOX`.

        The server scans the hash and sends only the matching fields.
        """
        pattern = f"{OUTBOX}*"
        async with _reported():
            found = self._redis.hscan_iter(key, match=pattern, count=SCAN_COUNT)
            return {field.decode(): value async for field, value in found}

    async def discard(self, key: str, fields: Sequence[str]) -> None:
        """Remove outbox entries that were published."""
        if fields:
            async with _reported():
                await self._redis.hdel(key, *fields)

    async def write_fields(self, key: str, fields: Mapping[str, bytes]) -> None:
        """Write fields of a hash that is not a partition: it has no owner and no offset."""
        async with _reported():
            for field, value in fields.items():
                await self._redis.hset(key, field, value)

    async def sweep(self, key: str, fencing_token: str, fields: Sequence[str]) -> int:
        """Remove those of ``fields`` that are dead; return how many."""
        removed = 0
        async with _reported():
            for first in range(0, len(fields), SWEEP_FIELDS):
                part = fields[first : first + SWEEP_FIELDS]
                removed += int(await self._sweep(keys=[key], args=[fencing_token, *part]))
        return removed

    async def release(self, key: str, fencing_token: str) -> bool:
        """Give the partition up, so that the next owner need not wait."""
        async with _reported():
            return bool(await self._release(keys=[key], args=[fencing_token]))

    async def stop(self, key: str, fencing_token: str, why: str) -> bool:
        """Record why the owner stopped reading; the next acquisition clears it."""
        async with _reported():
            return bool(await self._stop(keys=[key], args=[fencing_token, why]))

    async def quarantine(self, key: str, now_ms: int) -> str:
        """Rename a partition's hash, so that its state is kept but unused; return the name."""
        name = f"{key}:quarantine:{now_ms}"
        async with _reported():
            if await self._commits.exists(
                key
            ):  # this client never resends: a repeated rename fails
                await self._commits.rename(key, name)
        return name

    async def publish_window(self, redis_key: str, json: bytes, ttl_ms: int) -> None:
        """Make a closed window readable for ``ttl_ms``."""
        async with _reported():
            await self._redis.set(redis_key, json, px=ttl_ms)

    async def publish_performance(
        self, redis_key: str, json: bytes, offset: int, ttl_ms: int
    ) -> None:
        """Make the performance as of ``offset`` readable, unless that of a higher offset is."""
        async with _reported():
            await self._performance(keys=[redis_key], args=[json, ttl_ms, offset])

    async def check(self, keys: Sequence[str] = ()) -> str | None:
        """Check that the store can hold the state under ``keys``; return a warning, if any.

        It tries every command that a worker needs once, on keys that it removes afterwards.  The
        warning: ``CONFIG`` is forbidden, so that no policy could be read.

        Raises:
            StoreMisconfigured: it may evict keys, lacks a command, or a key holds other data.
        """
        await self._check_mode()
        await self._try_commands()
        for key in keys:
            await self._check_key(key)
        try:
            async with _reported():
                answer = await self._redis.config_get("maxmemory-policy")
        except (exceptions.ResponseError, StoreMisconfigured) as error:
            return f"cannot read maxmemory-policy ({error}); it must be noeviction"
        policy = answer.get("maxmemory-policy", "noeviction")
        if policy != "noeviction":
            raise StoreMisconfigured(
                f"maxmemory-policy is {policy}: Redis may delete state. "
                "Fix: CONFIG SET maxmemory-policy noeviction, and in redis.conf"
            )
        return None

    async def _check_mode(self) -> None:
        """Raise `StoreMisconfigured` if the server is a cluster or a sentinel."""
        try:
            async with _reported():
                server = await self._redis.info("server")
        except (exceptions.ResponseError, StoreMisconfigured):
            return  # INFO is forbidden; the needed commands are tried next
        mode = server.get("redis_mode") or server.get("server_mode", "standalone")  # Valkey's name
        if mode != "standalone":
            raise StoreMisconfigured(_MODES.get(mode, f"Redis runs in an unknown mode: {mode}"))

    async def _try_commands(self) -> None:
        """Raise `StoreMisconfigured` if the user lacks a permission that a worker needs."""
        key = partition_key(f"check-{secrets.token_hex(8)}", 0)
        aside = f"{key}:quarantine:0"
        try:
            acquired = await self.acquire(key, 0, "check", 0)
            if isinstance(acquired, Acquired):
                fields = {f"{OUTBOX}check": b"1", "check": b""}
                await self.commit(key, Commit(acquired.fencing_token, "check", None, 0, 0, fields))
                await self.outbox(key)
                await self.sweep(key, acquired.fencing_token, ["check"])
                await self.discard(key, [f"{OUTBOX}check"])
                await self.release(key, acquired.fencing_token)
            await self.publish_window(f"{key}:window", b"{}", 1)
            await self.publish_performance(f"{key}:figures", b'{"as_of_offset": 0}', 0, 1)
            await self.quarantine(key, 0)
            await self.load(aside)
        finally:
            with contextlib.suppress(exceptions.RedisError):
                for name in (key, aside):
                    if left := await self._redis.hkeys(name):
                        await self._redis.hdel(name, *left)

    async def _check_key(self, key: str) -> None:
        """Raise `StoreMisconfigured` if a partition's key holds other data."""
        async with _reported():
            fencing_token, position = await self._redis.hmget(key, ["_epoch", "_next"])
            foreign = fencing_token is None and position is None and await self._redis.exists(key)
        if foreign:
            raise StoreMisconfigured(
                f"{key} holds a hash that driftline did not write. "
                f"Fix: RENAME {key} elsewhere, or give driftline a database of its own "
                "(redis://host:6379/1)"
            )

    async def ping(self) -> None:
        """Return if the store answers."""
        async with _reported():
            await self._commits.ping()

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()
        await self._commits.aclose()


def _full(error: exceptions.ResponseError) -> bool:
    return isinstance(error, exceptions.OutOfMemoryError) or "OOM" in str(error)


def _passes(error: exceptions.ResponseError) -> bool:
    return isinstance(error, _LATER_BY_CLASS) or any(word in str(error) for word in _LATER)


def misconfiguration(error: BaseException) -> StoreMisconfigured | None:
    """The misconfiguration that an error of the server points to; ``None`` if it points to none."""
    if not isinstance(error, exceptions.ResponseError):
        return None
    text = str(error)
    if isinstance(error, exceptions.NoPermissionError) or any(part in text for part in _NO_ACCESS):
        return StoreMisconfigured(
            f"Redis does not let this user do what driftline needs ({text}). "
            f"Fix: ACL SETUSER <user> {ACL_RULES}"
        )
    if "WRONGTYPE" in text:
        return StoreMisconfigured(
            f"a key of driftline holds another type of value ({text}): another program writes keys "
            "that begin with driftline:. Fix: RENAME the key (`driftline doctor` names it), or "
            "give driftline a database of its own (redis://host:6379/1)"
        )
    if isinstance(error, _REDIRECTS) or "CROSSSLOT" in text or "MOVED" in text:
        return StoreMisconfigured(_MODES["cluster"])
    return None


@contextlib.asynccontextmanager
async def _reported() -> AsyncIterator[None]:
    """Raise errors of the network and the server as `StoreUnavailable` or `StoreMisconfigured`."""
    try:
        yield
    except (exceptions.ConnectionError, exceptions.TimeoutError, OSError) as error:
        raise StoreUnavailable(f"{type(error).__name__}: {error}") from error
    except exceptions.ResponseError as error:
        if _full(error) or _passes(error):
            raise StoreUnavailable(str(error)) from error
        raise misconfiguration(error) or error from error
