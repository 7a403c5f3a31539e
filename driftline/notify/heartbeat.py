"""The notifier's heartbeat: an advisory commit that contains which targets fail, and since when.

The notifier keeps its positions in its own file, and also commits them with a heartbeat as
metadata: `driftline status` and `driftline doctor` see from any machine that it runs, how far it
has read, and which targets accept no messages.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

import msgspec

from driftline.notify.plan import TargetState
from stream_monitor.commit_metadata import MAX_METADATA_BYTES, LastHeartbeat, latest_heartbeat

_MAX_CHARS: Final = 300


def notifier_group(prefix: str) -> str:
    """The consumer group that the notifier commits to, and never joins.

    >>> notifier_group("driftline")
    'driftline.notifier'
    """
    return f"{prefix}.notifier"


class FailingTarget(msgspec.Struct, frozen=True, kw_only=True):
    """A target that accepts no messages: since when (ms), why, and the fix."""

    target: str
    since_ms: int
    why: str
    fix: str


class NotifierHeartbeat(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A notifier's heartbeat: its clock (ms), targets, last accepted message, address of its pages.

    ``failing`` holds as many of the ``n_failing`` targets as fit, those that fail longest first.
    ``notifier_id`` identifies its database; empty in heartbeats of earlier versions.  ``sends`` is
    false before it sends, and ``stopped`` is true after its end.
    """

    time_ms: int
    n_targets: int
    succeeded_ms: int | None = None
    n_failing: int = 0
    failing: list[FailingTarget] = []
    web: str = ""
    notifier_id: str = ""
    started_ms: int = 0
    host: str = ""
    pid: int = 0
    sends: bool = False
    stopped: bool = False


def notifier_heartbeat(
    states: Mapping[str, TargetState], now_ms: int, web: str
) -> NotifierHeartbeat:
    """The heartbeat of a notifier with these targets."""
    failing = [
        FailingTarget(
            target=name[:_MAX_CHARS],
            since_ms=state.failing_since_ms,
            why=state.error[:_MAX_CHARS],
            fix=state.fix[:_MAX_CHARS],
        )
        for name, state in states.items()
        if state.failing_since_ms is not None
    ]
    failing.sort(key=lambda each: (each.since_ms, each.target))
    succeeded = [each.succeeded_ms for each in states.values() if each.succeeded_ms is not None]
    return NotifierHeartbeat(
        time_ms=now_ms,
        n_targets=len(states),
        succeeded_ms=max(succeeded, default=None),
        n_failing=len(failing),
        failing=failing,
        web=web,
    )


def heartbeat_text(heartbeat: NotifierHeartbeat) -> str:
    """The heartbeat as the metadata of a commit; failing targets that do not fit are left out."""
    text = msgspec.json.encode(heartbeat)
    while len(text) > MAX_METADATA_BYTES and heartbeat.failing:
        heartbeat = msgspec.structs.replace(heartbeat, failing=heartbeat.failing[:-1])
        text = msgspec.json.encode(heartbeat)
    return text.decode()


def heartbeat_of(texts: Iterable[str]) -> NotifierHeartbeat | None:
    """The newest heartbeat among the metadata of commits; other texts are ignored.

    >>> heartbeat_of(["", "other"]) is None
    True
    """
    found = []
    for text in texts:
        with suppress(msgspec.MsgspecError):
            found.append(msgspec.json.decode(text, type=NotifierHeartbeat))
    return max(found, key=lambda each: each.time_ms, default=None)


def last_notifier_heartbeat(
    client: Mapping[str, Any], prefix: str, topic: str, partitions: int
) -> LastHeartbeat[NotifierHeartbeat] | None:
    """The latest heartbeat of a notifier of this prefix; ``None`` where no notifier ever ran.

    Raises:
        KafkaException: no broker answers, or one denies access.
    """
    return latest_heartbeat(client, notifier_group(prefix), topic, partitions, NotifierHeartbeat)
