"""A Redis that loses replies, callers or writes, and protocols with one rule left out."""

from __future__ import annotations

import enum
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from stream_monitor.state.chunked_commit import CHUNK_PREFIX
from stream_monitor.state.redis_store import RedisStateStore
from stream_monitor.state.store import CHUNKED_FIELD, Commit, CommitOutcome, CommitResult


class Flaw(enum.Enum):
    """A protocol that is wrong in one place."""

    NONE = "none"
    NO_CHECK = "a commit is taken whatever the store holds"
    NO_OFFSET_CHECK = "a commit is taken from any offset of the same owner"
    TWO_WRITES = "state and offset are written one after the other"
    NO_START_CHECK = "a batch is applied wherever it starts"
    FORGOTTEN_STATE = "part of the state is not stored"
    UNREAD_CHUNKS = "a new owner reads single fields only"
    UNSEEN_CHUNKS = "a commit is accepted over chunks unknown to its owner"
    CLEARED_FIRST = "the outbox is cleared, then published"
    STALE_MEMORY = "state kept in memory is used wherever the store is by now"
    OUTSIDE_LABELS = "labels are read from a topic of their own"
    PARTITION_WATERMARK = "one watermark for all models of a partition"


_BLIND: Final = frozenset(
    {Flaw.NO_CHECK, Flaw.NO_OFFSET_CHECK, Flaw.UNSEEN_CHUNKS, Flaw.TWO_WRITES}
)
"""Flaws of the commit itself."""


class Died(BaseException):
    """A worker ends here; nothing catches this."""


Image = dict[str, dict[bytes, bytes]]
"""The hashes of all partitions."""


class FaultyStore(RedisStateStore):
    """Loses replies, lets its callers die, and can be set back to an earlier state.

    ``keys`` are the hashes it holds; what they held before is gone with `begin`.
    """

    def __init__(self, url: str, keys: Sequence[str], chance: random.Random, flaw: Flaw) -> None:
        super().__init__(url, owner_timeout_ms=0)
        self._keys, self._chance, self._flaw = keys, chance, flaw
        self._saved: list[Image] = []
        self.calm = False
        self.seen: Counter[str] = Counter()

    async def begin(self) -> None:
        """An empty store."""
        await self._redis.delete(*self._keys)

    async def image(self) -> Image:
        """All there is."""
        return {key: await self._hash(key) for key in self._keys}

    async def _hash(self, key: str) -> dict[bytes, bytes]:
        fields: Any = await self._redis.hgetall(key)
        return dict(fields)

    async def save(self) -> None:
        """A moment that the store may be set back to."""
        self._saved = [*self._saved[-3:], await self.image()]

    async def rewind(self) -> None:
        """The end of the append-only file is gone."""
        if self._saved:
            self.seen["rewinds"] += 1
            await self.begin()
            for key, fields in self._chance.choice(self._saved).items():
                if fields:
                    await self._redis.hset(key, mapping=dict[Any, Any](fields))

    async def commit(self, key: str, commit: Commit) -> CommitResult:
        """As in `RedisStateStore`, now and then without a reply."""
        self._perhaps_die(0.04)
        if not self.calm and self._chance.random() < 0.05:
            return CommitResult(CommitOutcome.UNKNOWN, "never arrived")
        answer = await self._take(key, commit)
        self.seen[answer.outcome.value] += 1
        if self._chance.random() < 0.4:  # also between the writes of one large commit
            await self.save()
        self._perhaps_die(0.04)
        if not self.calm and self._chance.random() < 0.05:
            return CommitResult(CommitOutcome.UNKNOWN, "the reply was lost")
        return answer

    async def _take(self, key: str, commit: Commit) -> CommitResult:
        if self._flaw in _BLIND:
            stored = await self._hash(key)
            offset = int(stored.get(b"_next", b"-1"))
            if self._flaw is Flaw.NO_CHECK:
                commit = commit._replace(fencing_token=stored.get(b"_epoch", b"").decode())
            if self._flaw in {Flaw.NO_CHECK, Flaw.NO_OFFSET_CHECK}:
                commit = commit._replace(expect=None if offset < 0 else offset)
            if self._flaw is Flaw.UNSEEN_CHUNKS:
                commit = commit._replace(chunked=bool(stored.get(CHUNKED_FIELD.encode())))
            if (
                self._flaw is Flaw.TWO_WRITES
                and stored.get(b"_epoch") == commit.fencing_token.encode()
            ):
                await self._redis.hset(key, mapping=dict[Any, Any](commit.fields))
                self._perhaps_die(0.1)
        return await super().commit(key, commit)

    async def load(self, key: str) -> dict[str, bytes]:
        """As in `RedisStateStore`."""
        fields = await super().load(key)
        if self._flaw is Flaw.UNREAD_CHUNKS:
            return {
                name: value for name, value in fields.items() if not name.startswith(CHUNK_PREFIX)
            }
        return fields

    async def discard(self, key: str, fields: Any) -> None:
        """As in `RedisStateStore`; the caller may die before and after."""
        self._perhaps_die(0.1)
        await super().discard(key, fields)
        self._perhaps_die(0.1)

    def _perhaps_die(self, share: float) -> None:
        if not self.calm and self._chance.random() < share:
            raise Died
