"""Outcomes of control records, and who gave them: for the log of the worker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from producer.events import CE_TYPE_OF, Command, ModelUpdate, Topology
from producer.names import require_name, version_key
from stream_monitor.contracts import ControlOutcome, DeadLetter
from stream_monitor.ingest.micro_batches import ControlRecord
from stream_monitor.ingest.records import ConsumerRecord
from stream_monitor.reference.profile import ReferenceProfile, profile_from_data

_KINDS: Final = frozenset(CE_TYPE_OF[kind] for kind in (Command, ModelUpdate, Topology))


def rejected_controls(
    rejected: Sequence[tuple[ConsumerRecord, DeadLetter]],
) -> list[ControlOutcome]:
    """The control records among those that were rejected before any was applied."""
    return [
        ControlOutcome(
            letter.offset,
            record.kind,
            letter.model,
            letter.detail,
            "",
            letter.source,
            f"rejected: {letter.reason}",
        )
        for record, letter in rejected
        if record.kind in _KINDS
    ]


def control_outcome(record: ConsumerRecord, order: ControlRecord, outcome: str) -> ControlOutcome:
    """What became of a control record, and who gave it."""
    actor = what = ""
    if isinstance(order, Command):
        actor, what = order.actor, f"{order.action} {order.episode}"
    elif isinstance(order, ModelUpdate):
        profile = "without a profile" if order.profile is None else "with a profile"
        what = f"version {order.version}, {profile}"
    else:
        what = f"generation {order.generation}, {order.partitions} partitions"
    model = "" if isinstance(order, Topology) else order.model
    return ControlOutcome(
        record.offset, type(order).__name__, model, what, actor, record.source, outcome
    )


def announced_profile(update: ModelUpdate) -> ReferenceProfile | None:
    """The profile of an announcement.

    Raises:
        ValueError: it does not read, or is another version's.
    """
    if update.profile is None:
        return None
    profile = profile_from_data(update.profile)
    if (profile.model, profile.version) != (update.model, update.version):
        raise ValueError(
            f"the profile is of {version_key(profile.model, profile.version)},"
            f" the update of {version_key(update.model, update.version)}"
        )
    for name in profile.features:
        require_name("the profile: feature", name)
    return profile
