"""Records of a version and of its champion pointer, for the model servers."""

from __future__ import annotations

import msgspec

from trainer.contracts import MODEL_VERSION_CE_TYPE, ModelVersion, PoolMember
from trainer.jobs.outbox import OutboundRecord
from trainer.policy.naming import derived_id
from trainer.registry.manifest import Manifest, StoredPool


def version_records(
    topic: str, manifest: Manifest, *, time_ms: int, caused_by: str, pool: StoredPool | None = None
) -> list[OutboundRecord]:
    """Build the record of a version with its profile, then the champion's pointer to it.

    ``pool`` is served under the version's name, with its own profile.
    """
    version = _version(manifest, time_ms, caused_by)
    members: tuple[PoolMember, ...] = ()
    if pool is not None:
        version = msgspec.structs.replace(version, profile=pool.profile)
        members = _of_several(manifest, pool.members)
    pointer = msgspec.structs.replace(version, profile=None, members=members)
    return [
        _record(topic, derived_id("version", caused_by, key), key, record)
        for key, record in ((version.version_key, version), (version.model, pointer))
    ]


def reweighted_record(
    topic: str, manifest: Manifest, members: tuple[PoolMember, ...], *, time_ms: int, caused_by: str
) -> OutboundRecord:
    """Build the champion's pointer to a pool with other weights."""
    pointer = msgspec.structs.replace(
        _version(manifest, time_ms, caused_by), profile=None, members=_of_several(manifest, members)
    )
    record_id = derived_id("version", caused_by, pointer.model)
    return _record(topic, record_id, pointer.model, pointer)


def stored_version_record(
    topic: str, manifest: Manifest, *, time_ms: int, caused_by: str
) -> OutboundRecord:
    """Build the record of a version that is not put into service now."""
    version = msgspec.structs.replace(_version(manifest, time_ms, caused_by), promoted=False)
    key = version.version_key
    return _record(topic, derived_id("stored", caused_by, key), key, version)


def _of_several(manifest: Manifest, members: tuple[PoolMember, ...]) -> tuple[PoolMember, ...]:
    """The members, or none where the version itself has all of the weight."""
    return () if [member.version for member in members] == [manifest.version] else members


def _version(manifest: Manifest, time_ms: int, caused_by: str) -> ModelVersion:
    return ModelVersion(
        model=manifest.model,
        version=manifest.version,
        artifact_sha256=manifest.artifact_sha256,
        time_ms=time_ms,
        caused_by=caused_by,
        profile=manifest.profile,
    )


def _record(topic: str, record_id: str, key: str, value: ModelVersion) -> OutboundRecord:
    return OutboundRecord(
        id=record_id,
        topic=topic,
        key=key,
        kind=MODEL_VERSION_CE_TYPE,
        value=msgspec.json.encode(value),
    )
