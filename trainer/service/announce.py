"""Announces a model version to the monitor: writes its profile to the event topic."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from producer.events import ModelUpdate
from producer.ids import uuid7
from producer.writer import EventWriter
from stream_monitor.reference.profile import ReferenceProfile, profile_to_data


def update_of(
    profile: ReferenceProfile,
    *,
    update_id: str,
    time_ms: int,
    artifact_sha256: str | None = None,
    caused_by: str | None = None,
) -> ModelUpdate:
    """Build the event that starts a version; the same ``update_id`` marks a repeat."""
    return ModelUpdate(
        id=update_id,
        model=profile.model,
        version=profile.version,
        time_ms=time_ms,
        profile=profile_to_data(profile),
        artifact_sha256=artifact_sha256,
        caused_by=caused_by,
    )


def announce(
    bootstrap_servers: str,
    profile: ReferenceProfile,
    *,
    update: ModelUpdate | None = None,
    topic_prefix: str = "driftline",
    shards: int = 1,
    librdkafka: Mapping[str, Any] | None = None,
) -> str:
    """Announce a version: write its `ModelUpdate` to every partition of the model; return the id.

    Kafka has acknowledged the update when this returns, so events of the version may follow.
    Without ``update`` a new one with the current time is written.

    Raises:
        DeliveryError: Kafka did not acknowledge the update.
    """
    if update is None:
        now_ms = round(time.time() * 1000)
        update = update_of(profile, update_id=uuid7(now_ms), time_ms=now_ms)
    writer = EventWriter(
        bootstrap_servers,
        topic_prefix=topic_prefix,
        source="/driftline/announce",
        shards=shards,
        librdkafka=librdkafka,
    )
    writer.write(update)
    writer.flush()
    return update.id
