"""The note that each worker keeps in the store for others: where it runs, what it owns.

It decides nothing: partitions are owned by what their own hashes say.  A worker that owns nothing
is seen here alone, and so is the address of a page whose port was not set.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

WORKER_TIMEOUT_MS: Final = 60_000
"""A worker writes every 15 s that it lives; one that is silent for so long has gone."""
LATE_MS: Final = 35_000
"""One that is silent for so long missed two notes: it may hang."""
HEARTBEAT_RETENTION_MS: Final = 24 * 3_600_000
"""The note of a worker that has gone is removed after a day."""


class WorkerHeartbeat(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A worker as it sees itself at ``time_ms`` of its clock; ``web`` is where its pages are."""

    member: str
    host: str
    pid: int
    time_ms: int
    partitions: list[int]
    web: str = ""


def workers_key(topic: str) -> str:
    """Where the notes lie: a hash by member.

    >>> workers_key("driftline.events.v1")
    'driftline:{driftline.events.v1}:workers'
    """
    return f"driftline:{{{topic}}}:workers"


def decode_heartbeats(stored: Mapping[str, bytes]) -> list[WorkerHeartbeat]:
    """The notes in a hash, by member; what is no note is passed over."""
    found = []
    for _, blob in sorted(stored.items()):
        try:
            found.append(msgspec.json.decode(blob, type=WorkerHeartbeat))
        except msgspec.MsgspecError:
            continue
    return found


def alive(notes: Iterable[WorkerHeartbeat], now_ms: int) -> list[WorkerHeartbeat]:
    """Those that wrote within the last minute, or whose clock is ahead."""
    return [note for note in notes if now_ms - note.time_ms <= WORKER_TIMEOUT_MS]


def expired(notes: Iterable[WorkerHeartbeat], now_ms: int) -> list[str]:
    """The members whose notes are of yesterday."""
    return [note.member for note in notes if now_ms - note.time_ms > HEARTBEAT_RETENTION_MS]
