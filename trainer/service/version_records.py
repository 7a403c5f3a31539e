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
    version = ModelVersion(
        model=manifest.model,
        version=manifest.version,
        artifact_sha256=manifest.artifact_sha256,
        time_ms=time_ms,
        caused_by=caused_by,
        profile=manifest.profile,
    )
    pointer = msgspec.structs.replace(version, profile=None)
    return [
        OutboundRecord(
            id=derived_id("version", caused_by, key),
            topic=topic,
            key=key,
            kind=MODEL_VERSION_CE_TYPE,
            value=msgspec.json.encode(record),
        )
        for key, record in ((version.version_key, version), (version.model, pointer))
    ]
