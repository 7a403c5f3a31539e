"""The profile inside of an announcement, checked before anything changes because of it."""

from __future__ import annotations

from producer.events import ModelUpdate
from producer.names import reference_of, require_name
from stream_monitor.reference.profile import ReferenceProfile, profile_from_data


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
            f"the profile is of {reference_of(profile.model, profile.version)},"
            f" the update of {reference_of(update.model, update.version)}"
        )
    for name in profile.features:
        require_name("the profile: feature", name)
    return profile
