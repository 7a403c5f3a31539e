"""Records of a version and of its champion pointer, for the model servers."""

from __future__ import annotations

import msgspec

from trainer.contracts import MODEL_VERSION_CE_TYPE, ModelVersion
from trainer.jobs.outbox import OutboundRecord
from trainer.policy.naming import derived_id
from trainer.registry.manifest import Manifest


def version_records(
    topic: str, manifest: Manifest, *, time_ms: int, caused_by: str
) -> list[OutboundRecord]:
    """Build the record of a version with its profile, then the champion's pointer to it."""
    version = _version(manifest, time_ms, caused_by)
    pointer = msgspec.structs.replace(version, profile=None)
    return [
        _record(topic, derived_id("version", caused_by, key), key, record)
        for key, record in ((version.version_key, version), (version.model, pointer))
    ]


def stored_version_record(
    topic: str, manifest: Manifest, *, time_ms: int, caused_by: str
) -> OutboundRecord:
    """Build the record of a version that is not put into service now."""
    version = msgspec.structs.replace(_version(manifest, time_ms, caused_by), promoted=False)
    key = version.version_key
    return _record(topic, derived_id("stored", caused_by, key), key, version)


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
