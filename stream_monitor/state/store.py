"""Where state lives: one hash a partition, moved by compare-and-set.

The answer to a commit says what to do next:

==============  =================================================================================
OK              applied: go on
DUP             this very commit had been applied and its reply was lost: go on
STALE           the store was rewound or somebody advanced it: throw state away, acquire, seek
FENCED          somebody else has acquired the partition: throw state away
OUT_OF_MEMORY   nothing was written: wait, send it again
UNKNOWN         no answer: send the same transaction again, never advance
==============  =================================================================================
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol

MAX_PAIRS: Final = 3_500
"""Pairs in one commit.  Lua's ``unpack`` fails near 8,000 values."""
CHUNKED_FIELD: Final = "_bundled"
"""Field that is not empty while bundles of fields lie in the hash."""
_UNPACKING: Final = b":unpacking"
STOPPED: Final = "_stopped"
"""Field that says why the owner reads the partition no further; empty where it reads."""
OUTBOX: Final = "o:"
"""Prefix of the fields that have to leave."""
ATTEMPT_FIELD: Final = "_try"
"""Field with the record that is being folded in alone, or the batch that is being unpacked, and how
often: ``offset:times``, and ``:unpacking`` behind it."""


class CommitTooLarge(RuntimeError):  # noqa: N818 - says what happened
    """A commit has more changed fields than one write can carry."""


class StoreMisconfigured(RuntimeError):  # noqa: N818 - says what happened
    """The server cannot hold state as it is set up; the text says why, and what to change."""


class StoreUnavailable(RuntimeError):  # noqa: N818 - says what happened
    """The store did not answer, or refused for now.  Try again later."""


class AttemptMarker(NamedTuple):
    """What may end a process, and was tried ``times`` times so far.

    A record that was folded in alone; or with ``unpacking`` a batch that was unpacked alone, under
    the offset of its last record.
    """

    offset: int
    times: int
    decompressing: bool = False

    def encoded(self) -> bytes:
        """As it is stored."""
        return b"%d:%d%s" % (self.offset, self.times, _UNPACKING if self.decompressing else b"")

    def decremented(self) -> AttemptMarker:
        """As it was before this time."""
        return self._replace(times=self.times - 1)

    @classmethod
    def read(cls, stored: bytes) -> AttemptMarker | None:
        """As it was stored; ``None`` where nothing was.

        >>> AttemptMarker.read(AttemptMarker(7, 2).encoded())
        AttemptMarker(offset=7, times=2, decompressing=False)
        >>> AttemptMarker.read(AttemptMarker(7, 2, decompressing=True).encoded())
        AttemptMarker(offset=7, times=2, decompressing=True)
        """
        offset, _, times = stored.removesuffix(_UNPACKING).partition(b":")
        if not (offset.isdigit() and times.isdigit()):
            return None
        return cls(int(offset), int(times), stored.endswith(_UNPACKING))


class Acquired(NamedTuple):
    """The partition is ours.

    ``next`` is ``None`` when nothing was ever committed.  ``attempts`` counts the members that
    acquired it at this offset since the last graceful release.  ``tried`` is what was tried alone
    last; ``chunked`` says that bundles lie in the hash.
    """

    fencing_token: str
    next: int | None
    attempts: int
    last_attempt: AttemptMarker | None = None
    chunked: bool = False


class AcquireRejected(NamedTuple):
    """A member of a newer generation holds the partition, and was heard ``silent_ms`` ago."""

    generation: int
    member: str
    silent_ms: int


class CommitOutcome(enum.StrEnum):
    """How a commit ended; the module says what each asks for."""

    OK = "ok"
    DUP = "dup"
    STALE = "stale"
    FENCED = "fenced"
    OUT_OF_MEMORY = "out_of_memory"
    UNKNOWN = "unknown"


class CommitResult(NamedTuple):
    """The outcome of a commit, and what the store or the network said."""

    outcome: CommitOutcome
    detail: str = ""


class Commit(NamedTuple):
    """What is to be written.

    ``expect`` is the offset that must be stored now (``None``: none yet), and ``chunked`` whether
    bundles must lie there: a store that was rewound may hold bundles again at the same offset.
    ``fields`` with an empty value are dead, and are removed later by `StateStore.sweep`.
    """

    fencing_token: str
    txn: str
    expect: int | None
    next: int
    now_ms: int
    fields: Mapping[str, bytes]
    chunked: bool = False


class StateStore(Protocol):
    """State of partitions.

    All but `commit` raise `StoreUnavailable`; all may raise `StoreMisconfigured`.
    """

    async def acquire(
        self, key: str, generation: int, member: str, now_ms: int
    ) -> Acquired | AcquireRejected:
        """Become the owner of a partition, under a new random epoch."""
        ...

    async def read(self, key: str, fields: Sequence[str]) -> list[bytes | None]:
        """Some fields of any partition, as they are committed, without taking part."""
        ...

    async def load(self, key: str) -> dict[str, bytes]:
        """All fields but the store's own (which begin with ``_``)."""
        ...

    async def commit(self, key: str, commit: Commit) -> CommitResult:
        """Write state and offset together, if nobody moved them.

        Raises:
            CommitTooLarge: there are more than `MAX_PAIRS` fields.
        """
        ...

    async def outbox(self, key: str) -> dict[str, bytes]:
        """What lies in a partition's outbox: the fields that begin with `OUTBOX`."""
        ...

    async def discard(self, key: str, fields: Sequence[str]) -> None:
        """Remove outbox entries that were published."""
        ...

    async def write_fields(self, key: str, fields: Mapping[str, bytes]) -> None:
        """Write fields of a hash that is no partition's: no owner, and no offset."""
        ...

    async def sweep(self, key: str, fencing_token: str, fields: Sequence[str]) -> int:
        """Remove those of ``fields`` that are dead; answers how many."""
        ...

    async def release(self, key: str, fencing_token: str) -> bool:
        """Let the partition go, so that the next owner need not wait."""
        ...

    async def stop(self, key: str, fencing_token: str, why: str) -> bool:
        """Record that the owner reads no further, until somebody acquires the partition anew."""
        ...

    async def quarantine(self, key: str, now_ms: int) -> str:
        """Set a partition's state aside under another name, and answer the name."""
        ...

    async def publish_window(self, redis_key: str, json: bytes, ttl_ms: int) -> None:
        """Make a closed window readable for ``ttl_ms``."""
        ...

    async def publish_performance(
        self, redis_key: str, json: bytes, offset: int, ttl_ms: int
    ) -> None:
        """Make figures as of ``offset`` readable, unless those of a higher offset are."""
        ...

    async def check(self, keys: Sequence[str] = ()) -> str | None:
        """Whether the store can hold the state under ``keys``; answers a warning, if there is one.

        Raises:
            StoreMisconfigured: it may evict keys, lacks a command, or holds something else at a
            key.
        """
        ...

    async def ping(self) -> None:
        """Answer if alive."""
        ...

    async def close(self) -> None:
        """Let connections go."""
        ...


def check_size(key: str, commit: Commit) -> None:
    """Raise `CommitTooLarge` when a commit cannot be one write."""
    if len(commit.fields) > MAX_PAIRS:
        raise CommitTooLarge(
            f"{key}: {len(commit.fields)} changed fields, one commit carries {MAX_PAIRS}"
        )
