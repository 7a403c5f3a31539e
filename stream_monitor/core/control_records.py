"""Outcomes of control records, as the worker logs them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from producer.events import CE_TYPE_OF, Command, ModelUpdate, Topology
from producer.names import require_name, version_key
from stream_monitor.contracts import DeadLetter
from stream_monitor.episodes.open_episodes import UnknownEpisode
from stream_monitor.ingest.micro_batches import ControlRecord
from stream_monitor.ingest.records import ConsumerRecord
from stream_monitor.reference.profile import ReferenceProfile, profile_from_data

_KINDS: Final = frozenset(CE_TYPE_OF[kind] for kind in (Command, ModelUpdate, Topology))


class ControlOutcome(NamedTuple):
    """The outcome of a control record, as the worker logs it.

    ``actor`` is the user that the record names, ``source`` the ``ce_source`` of its producer.
    """

    offset: int
    kind: str
    model: str
    what: str
    actor: str
    source: str
    outcome: str


def rejected_controls(
    rejected: Sequence[tuple[ConsumerRecord, DeadLetter]],
) -> list[ControlOutcome]:
    """The outcomes of control records that were rejected when they were decoded."""
    return [
        ControlOutcome(
            dead_letter.offset,
            record.kind,
            dead_letter.model,
            dead_letter.detail,
            "",
            dead_letter.source,
            f"rejected: {dead_letter.reason}",
        )
        for record, dead_letter in rejected
        if record.kind in _KINDS
    ]


def control_outcome(record: ConsumerRecord, control: ControlRecord, outcome: str) -> ControlOutcome:
    """The outcome of a control record, with its content and its author."""
    actor = what = ""
    if isinstance(control, Command):
        actor, what = control.actor, f"{control.action} {control.episode}"
    elif isinstance(control, ModelUpdate):
        profile = "without a profile" if control.profile is None else "with a profile"
        what = f"version {control.version}, {profile}"
    else:
        what = f"generation {control.generation}, {control.partitions} partitions"
    model = "" if isinstance(control, Topology) else control.model
    return ControlOutcome(
        record.offset, type(control).__name__, model, what, actor, record.source, outcome
    )


def rejection_reason(error: ValueError, control: ControlRecord) -> str:
    """The reason under which a control record that could not be applied is counted."""
    if isinstance(error, UnknownEpisode):
        return "unknown_episode"
    if isinstance(control, Topology):
        return "invalid_topology"
    return "invalid_profile" if isinstance(control, ModelUpdate) else "invalid_command"


def announced_profile(update: ModelUpdate) -> ReferenceProfile | None:
    """The profile of an announcement.

    Raises:
        ValueError: the profile is invalid, or it is another version's.
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
