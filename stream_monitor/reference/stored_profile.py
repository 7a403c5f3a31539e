"""A profile as it is stored: its ascending numbers packed, the rest compressed.

A profile is stored once for a version, so compression costs no commit anything.  Its order
statistics are by far the largest part of the state of a feature.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

import msgspec

from stream_monitor.reference.feature_reference import FeatureReference
from stream_monitor.reference.packed_values import low_size, pack_values, unpack_values
from stream_monitor.reference.profile import ReferenceProfile, validate_profile
from stream_monitor.state_parts import CorruptState, StoredParts, decode_part, encode_part

PROFILE: Final = "profile"
"""The part of a version that holds its reference."""
_LEVEL: Final = 6
_MAX_BYTES: Final = 1 << 28
"""A profile has at most 900 KB in its record."""
_Change: TypeAlias = Callable[[bytes], bytes]


class PackedProfile(NamedTuple):
    """A profile without the ``low`` bytes of its numbers, deflated; and these, one by one."""

    deflated: bytes
    low: bytes


StoredProfile: TypeAlias = PackedProfile | ReferenceProfile
"""The reference of a version as it was stored: until November 2026 as it is."""


def pack_profile(profile: ReferenceProfile) -> PackedProfile:
    """The form in which a profile is stored."""
    low: list[bytes] = []

    def pack(values: bytes) -> bytes:
        packed = pack_values(values)
        low.append(packed.low)
        return packed.high

    changed = _with_values(profile, pack)
    return PackedProfile(zlib.compress(encode_part(changed), _LEVEL), b"".join(low))


def unpack_profile(stored: StoredProfile) -> ReferenceProfile:
    """The profile that was stored.

    Raises:
        ValueError: it is none, or detectors cannot be built from it.
    """
    if isinstance(stored, ReferenceProfile):
        profile = stored
    else:
        low, at = memoryview(stored.low), 0

        def unpack(high: bytes) -> bytes:
            nonlocal at
            start, at = at, at + low_size(high)
            return unpack_values(high, low[start:at])

        profile = _with_values(_inflate(stored.deflated), unpack)
        if at != len(low):
            raise CorruptState("a stored profile with numbers of no feature")
    validate_profile(profile)
    return profile


def read_profile(parts: StoredParts) -> ReferenceProfile:
    """The reference among the parts of a version.

    Raises:
        ValueError: it is missing, or detectors cannot be built from it.
    """
    return unpack_profile(parts.read(PROFILE, StoredProfile))


def _inflate(deflated: bytes) -> ReferenceProfile:
    inflater = zlib.decompressobj()
    try:
        data = inflater.decompress(deflated, _MAX_BYTES)
    except zlib.error as error:
        raise CorruptState(f"a stored profile: {error}") from error
    if not inflater.eof or inflater.unused_data:
        raise CorruptState("a stored profile is cut, or too large")
    return decode_part(data, ReferenceProfile)


def _with_values(profile: ReferenceProfile, change: _Change) -> ReferenceProfile:
    """The profile with all its ascending numbers changed, in the order of its parts."""

    def of(reference: FeatureReference) -> FeatureReference:
        statistics, bounds = reference.order_statistics, reference.bounds
        if not statistics and (bounds is None or not bounds.known):
            return reference
        if bounds is not None and bounds.known:
            bounds = msgspec.structs.replace(bounds, known=change(bounds.known))
        if statistics:
            statistics = change(statistics)
        return msgspec.structs.replace(reference, order_statistics=statistics, bounds=bounds)

    def of_all(references: dict[str, FeatureReference]) -> dict[str, FeatureReference]:
        return {name: of(reference) for name, reference in references.items()}

    def of_one(reference: FeatureReference | None) -> FeatureReference | None:
        return None if reference is None else of(reference)

    return msgspec.structs.replace(
        profile,
        features=of_all(profile.features),
        prediction=of_one(profile.prediction),
        loss=of_one(profile.loss),
        outputs=of_all(profile.outputs),
        segments=tuple(
            msgspec.structs.replace(
                segment, features=of_all(segment.features), prediction=of_one(segment.prediction)
            )
            for segment in profile.segments
        ),
    )
