"""Control records of the log: who changed what of a model, and when.

A `ModelUpdate`, a `Command` and a `Topology` change what the monitor does.  They are read from the
log itself, so the history is what the monitor was given; what it rejected says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from driftline.topics import topic_reader as reading
from driftline.topics.topic_reader import Record
from producer.codec import RejectedRecord, decode
from producer.events import CE_TYPE_OF, Command, ModelUpdate, Topology
from stream_monitor.episodes.formatting import format_time

CONTROL_TYPES: Final = frozenset(CE_TYPE_OF[kind] for kind in (ModelUpdate, Command, Topology))
_IDLE_TIMEOUT_S: Final = 2.0
_SHORT: Final = 12


class ControlChange(msgspec.Struct, frozen=True, kw_only=True):
    """One control record, and where it lies in the log.

    ``actor`` is who gave it, as it says itself, ``source`` the ``ce_source`` of whoever wrote it.
    Neither is proof: whoever may write to the log may write any name.  ``rejected`` is why the
    monitor did not obey it.
    """

    time_ms: int
    position: str
    what: str
    actor: str
    source: str
    reason: str = ""
    rejected: str | None = None


def read_control_records(client: Mapping[str, Any], topic: str) -> list[Record]:
    """All control records that the log holds.

    Raises:
        LookupError: there is no such topic.
    """
    with reading.TopicReader(client, topic) as reader:
        records = reader.until(lambda: False, idle_timeout_s=_IDLE_TIMEOUT_S)
        return [record for record in records if record.kind in CONTROL_TYPES]


def control_changes(
    records: Iterable[Record], topic: str, model: str, rejected: Mapping[str, str]
) -> list[ControlChange]:
    """What was changed of a model, oldest first; ``rejected`` says why, by position.

    What was written to several partitions is one change.
    """
    found: dict[tuple[str, str], ControlChange] = {}
    profiles: dict[str, bytes] = {}
    for record in sorted(records, key=lambda one: (one.timestamp_ms, one.partition, one.offset)):
        try:
            event = decode(record.value or b"", record.kind)
        except RejectedRecord:
            continue  # it concerns no model that is known; its dead letter says what it was
        if isinstance(event, Topology):
            key, actor, reason = ("topology", str(event.generation)), "", ""
        elif isinstance(event, ModelUpdate | Command) and event.model == model:
            key = record.kind or "", event.id
            actor = event.actor if isinstance(event, Command) else ""
            reason = event.reason if isinstance(event, Command) else event.caused_by or ""
        else:
            continue
        if key in found:
            continue
        position = f"{topic}:{record.partition}:{record.offset}"
        found[key] = ControlChange(
            time_ms=record.timestamp_ms,
            position=position,
            what=_describe(event, profiles),
            actor=actor,
            source=record.source,
            reason=reason,
            rejected=rejected.get(position),
        )
    return list(found.values())


def _describe(event: ModelUpdate | Command | Topology, profiles: dict[str, bytes]) -> str:
    """What a control record asks for; ``profiles`` are those of the versions before it."""
    if isinstance(event, ModelUpdate):
        return f"version {event.version}{_describe_update(event, profiles)}"
    if isinstance(event, Topology):
        shards = "".join(f", {name} in {n} shards" for name, n in sorted(event.shards.items()))
        return f"placement {event.generation}: {event.partitions} partitions{shards}"
    if event.action == "forget":
        return "forget the model"
    until = f" until {format_time(event.until_ms)}" if event.until_ms is not None else ""
    return f"{event.action} episode {event.episode[:_SHORT]}{until}"


def _describe_update(update: ModelUpdate, profiles: dict[str, bytes]) -> str:
    """What is done with a version; its profile is remembered."""
    if update.moved_from is not None:
        return f": reference copied from partition {update.moved_from}"
    if update.profile is None:
        return " put into service, without a profile"
    profile = msgspec.json.encode(update.profile, order="sorted")
    before = profiles.get(update.version)
    profiles[update.version] = profile
    if before is None:
        return " put into service, with a profile"
    same = before == profile
    return " put into service again, with the same profile" if same else ": PROFILE REPLACED"
