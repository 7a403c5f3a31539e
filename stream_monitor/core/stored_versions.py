"""Reads the versions and references of a model from its stored parts, without detectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from producer.names import escape
from stream_monitor.reference.profile import ReferenceProfile, profile_from_data


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

    >>> [is_about_versions(x) for x in ("model", "places", "version|1|meta", "labels|meta")]
    [True, True, True, False]
    """
    return (
        part in ("model", "places")
        or part.startswith("profile|")
        or (part.startswith("version|") and part.endswith("|meta"))
    )


def versions_in(parts: Mapping[str, Any]) -> list[StoredVersion]:
    """The versions of a model that have a reference, in the order in which they started.

    Raises:
        KeyError, TypeError, IndexError, ValueError: the parts are not those of one commit.
    """
    start_offsets, _warm_ups = parts["model"]
    places = parts.get("places")  # a list in older states
    champion = places["champion"] if isinstance(places, dict) else None
    found = [
        StoredVersion(
            start_offset=offset,
            idle=bool(parts[f"version|{escape(version)}|meta"][0]),
            champion=version == champion,
            profile=profile_from_data(parts[f"profile|{escape(version)}"]),
        )
        for version, offset in start_offsets.items()
    ]
    return sorted(found, key=lambda one: one.start_offset)
