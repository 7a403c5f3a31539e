"""What a state store takes and returns: one hash per partition, written by compare-and-set.

The outcome of a commit decides what the worker does next:

==============  =================================================================================
OK              the commit was applied: continue
DUP             this commit had been applied and its reply was lost: continue
STALE           the store was rewound, or another worker advanced it: drop the state, acquire, seek
FENCED          another worker has acquired the partition: drop the state
OUT_OF_MEMORY   nothing was written: wait, then send the commit again
UNKNOWN         no answer: send the same transaction again, never advance
==============  =================================================================================
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final, NamedTuple

MAX_PAIRS: Final = 3_500
"""Most fields of one commit.  Lua's ``unpack`` fails near 8,000 values."""
CHUNKED_FIELD: Final = "_bundled"
"""Field that is not empty while the hash holds chunks of fields."""
_UNPACKING: Final = b":unpacking"
_ROW: Final = b":row:"
STOPPED: Final = "_stopped"
"""Field with the reason why the owner stopped reading the partition; empty while it reads."""
OUTBOX: Final = "o:"
"""Prefix of the fields that the owner still has to publish."""
ATTEMPT_FIELD: Final = "_try"
"""Field with the attempt marker: ``offset:times`` of a record that is processed alone; followed by
``:unpacking``, of a batch that is decompressed alone, or by ``:row:`` and numbers, of a row."""


class CommitTooLarge(RuntimeError):  # noqa: N818 - names what happened
    """A commit has more changed fields than one write can carry."""


class StoreMisconfigured(RuntimeError):  # noqa: N818 - names what happened
    """The server is not configured to hold state; the text names the cause and the fix."""


class StoreUnavailable(RuntimeError):  # noqa: N818 - names what happened
    """The store did not answer, or rejected a request that may succeed later."""


class AttemptMarker(NamedTuple):
    """A record that may crash the worker, and how many times workers have tried it.

    A worker writes the marker before the attempt, so that the next owner can attribute a crash to
    it.  With ``decompressing`` the attempt is to decompress a batch; ``offset`` is then the offset
    of its last record.  With ``row`` the attempt is to process this row of the record alone;
    ``skipped_rows`` are those before it that ended workers.
    """

    offset: int
    times: int
    decompressing: bool = False
    row: int | None = None
    skipped_rows: tuple[int, ...] = ()

    def encoded(self) -> bytes:
        """The marker as a field of the store."""
        suffix = _UNPACKING if self.decompressing else b""
        if self.row is not None:
            suffix = _ROW + b":".join(b"%d" % row for row in (self.row, *self.skipped_rows))
        return b"%d:%d%s" % (self.offset, self.times, suffix)

    def decremented(self) -> AttemptMarker:
        """The marker without the last attempt."""
        return self._replace(times=self.times - 1)

    @classmethod
    def read(cls, stored: bytes) -> AttemptMarker | None:
        """The marker in a field of the store; ``None`` where the field holds none.

        >>> AttemptMarker.read(b"7:2") == AttemptMarker(7, 2)
        True
        >>> AttemptMarker.read(b"7:2:unpacking") == AttemptMarker(7, 2, decompressing=True)
        True
        >>> AttemptMarker.read(b"7:2:row:9:4") == AttemptMarker(7, 2, row=9, skipped_rows=(4,))
        True
        """
        attempt, _, rows = stored.removesuffix(_UNPACKING).partition(_ROW)
        numbers = attempt.split(b":") + (rows.split(b":") if rows else [])
        if len(attempt.split(b":")) != 2 or not all(number.isdigit() for number in numbers):
            return None
        offset, times, *tried = map(int, numbers)
        row, skipped = (tried[0], tuple(tried[1:])) if tried else (None, ())
        return cls(offset, times, stored.endswith(_UNPACKING), row, skipped)


class Acquired(NamedTuple):
    """This worker owns the partition.

    ``next`` is the offset to read next; ``None`` before the first commit.  ``attempts`` counts the
    members that acquired the partition at this offset since the last graceful release.
    ``last_attempt`` is the stored attempt marker.  ``chunked``: the hash holds chunks of fields.
    """

    fencing_token: str
    next: int | None
    attempts: int
    last_attempt: AttemptMarker | None = None
    chunked: bool = False


class AcquireRejected(NamedTuple):
    """A member of a newer generation owns the partition; it last wrote ``silent_ms`` ago."""

    generation: int
    member: str
    silent_ms: int


class CommitOutcome(enum.StrEnum):
    """The outcome of a commit; the module's docstring lists the worker's reaction to each."""

    OK = "ok"
    DUP = "dup"
    STALE = "stale"
    FENCED = "fenced"
    OUT_OF_MEMORY = "out_of_memory"
    UNKNOWN = "unknown"


class CommitResult(NamedTuple):
    """The outcome of a commit, with the stored offset or the error as ``detail``."""

    outcome: CommitOutcome
    detail: str = ""


class Commit(NamedTuple):
    """One write of a partition: its offset and the fields that changed.

    The store applies it only if it holds the offset ``expect`` (``None``: no offset), and chunks of
    fields exactly if ``chunked``: a store that was rewound may hold chunks at the same offset.
    Fields with an empty value are dead; `RedisStateStore.sweep` removes them later.
    """

    fencing_token: str
    txn: str
    expect: int | None
    next: int
    now_ms: int
    fields: Mapping[str, bytes]
    chunked: bool = False


def check_size(key: str, commit: Commit) -> None:
    """Raise `CommitTooLarge` if one write cannot carry the commit."""
    if len(commit.fields) > MAX_PAIRS:
        raise CommitTooLarge(
            f"{key}: {len(commit.fields)} changed fields, one commit carries {MAX_PAIRS}"
        )
