"""Reads the versions and references of a model from its stored parts, without detectors."""

from __future__ import annotations

from typing import NamedTuple

from producer.names import escape
from stream_monitor.core.model import ModelState
from stream_monitor.core.retention import RetentionState
from stream_monitor.core.version import VersionState
from stream_monitor.reference.profile import ReferenceProfile
from stream_monitor.reference.stored_profile import PROFILE, read_profile
from stream_monitor.state_parts import StoredParts


class StoredVersion(NamedTuple):
    """A version with its reference; it is watched after the record at ``start_offset``.

    It is ``idle`` where it had no event for a while and another version serves.
    """

    start_offset: int
    idle: bool
    champion: bool
    profile: ReferenceProfile


def is_about_versions(part: str) -> bool:
    """Whether `versions_in` reads this part of a model.

    >>> [is_about_versions(x) for x in ("model", "retention", "version|1|meta", "labels|meta")]
    [True, True, True, False]
    """
    return part in ("model", "retention") or (
        part.startswith("version|") and part.endswith(("|meta", f"|{PROFILE}"))
    )


def versions_in(parts: StoredParts) -> list[StoredVersion]:
    """The versions of a model that have a reference, in the order in which they started.

    Raises:
        ValueError: the parts are not those of one commit.
    """
    champion = parts.read("retention", RetentionState).champion
    found: list[StoredVersion] = []
    for version, offset in parts.read("model", ModelState).start_offsets.items():
        mine = parts.under(f"version|{escape(version)}|")
        profile = read_profile(mine)
        idle = mine.read("meta", VersionState).idle
        found.append(StoredVersion(offset, idle, version == champion, profile))
    return sorted(found, key=lambda one: one.start_offset)
