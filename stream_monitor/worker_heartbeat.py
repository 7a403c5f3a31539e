"""The heartbeat that each worker writes to the store: where it runs, and what it owns.

It decides nothing: the store's hash of a partition decides who owns it.  Only the heartbeat shows a
worker that owns nothing, and the address of its pages where no port was set.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

WORKER_TIMEOUT_MS: Final = 60_000
"""A worker sends a heartbeat every 15 s; a worker that is silent for so long has stopped."""
LATE_MS: Final = 35_000
"""A worker that is silent for so long has missed two heartbeats: it may hang."""
HEARTBEAT_RETENTION_MS: Final = 24 * 3_600_000
"""The heartbeat of a stopped worker is removed after a day."""


class WorkerHeartbeat(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A worker at ``time_ms`` of its clock; ``web`` is the URL of its pages."""

    member: str
    host: str
    pid: int
    time_ms: int
    partitions: list[int]
    web: str = ""


def workers_key(topic: str) -> str:
    """The Redis key of the heartbeats: a hash by member.

    >>> workers_key("driftline.events.v1")
    'driftline:{driftline.events.v1}:workers'
    """
    return f"driftline:{{{topic}}}:workers"


def decode_heartbeats(stored: Mapping[str, bytes]) -> list[WorkerHeartbeat]:
    """The heartbeats in a hash, by member; invalid ones are left out."""
    found = []
    for _, blob in sorted(stored.items()):
        try:
            found.append(msgspec.json.decode(blob, type=WorkerHeartbeat))
        except msgspec.MsgspecError:
            continue
    return found


def alive(notes: Iterable[WorkerHeartbeat], now_ms: int) -> list[WorkerHeartbeat]:
    """The workers that wrote within the last minute, or whose clock is ahead."""
    return [note for note in notes if now_ms - note.time_ms <= WORKER_TIMEOUT_MS]


def expired(notes: Iterable[WorkerHeartbeat], now_ms: int) -> list[str]:
    """The members whose heartbeats are older than a day."""
    return [note.member for note in notes if now_ms - note.time_ms > HEARTBEAT_RETENTION_MS]
