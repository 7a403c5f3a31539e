"""The changes made to a model, from the control records of the event topic.

A `ModelUpdate`, a `Command` and a `Topology` change what the monitor does.  The monitor reads the
same records, so this history is complete; records that the monitor rejected are marked.
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
    """One control record and its position in the event topic.

    ``actor`` is the person named in the record, ``source`` the ``ce_source`` of its producer.
    Neither is proof: every producer with write access can write any name.  ``rejected`` is the
    reason why the monitor did not apply the record.
    """

    time_ms: int
    position: str
    description: str
    actor: str
    source: str
    reason: str = ""
    rejected: str | None = None


def read_control_records(client: Mapping[str, Any], topic: str) -> list[Record]:
    """All control records of the event topic.

    Raises:
        MissingTopicError: the topic does not exist.
    """
    with reading.TopicReader(client, topic) as reader:
        records = reader.read_until(lambda: False, idle_timeout_s=_IDLE_TIMEOUT_S)
        return [record for record in records if record.kind in CONTROL_TYPES]


def control_changes(
    records: Iterable[Record], topic: str, model: str, rejected: Mapping[str, str]
) -> list[ControlChange]:
    """The changes of a model, oldest first.

    ``rejected`` maps the position of a rejected record to the reason.  A record that was written to
    several partitions is one change.
    """
    found: dict[tuple[str, str], ControlChange] = {}
    profiles: dict[str, bytes] = {}
    for record in sorted(records, key=lambda one: (one.timestamp_ms, one.partition, one.offset)):
        try:
            event = decode(record.value or b"", record.kind)
        except RejectedRecord:
            continue  # its model is unknown; a dead letter describes it
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
            description=_describe(event, profiles),
            actor=actor,
            source=record.source,
            reason=reason,
            rejected=rejected.get(position),
        )
    return list(found.values())


def _describe(event: ModelUpdate | Command | Topology, profiles: dict[str, bytes]) -> str:
    """A control record in words; ``profiles`` holds the profile of each earlier version."""
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
    """A model update in words; adds its profile to ``profiles``."""
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
