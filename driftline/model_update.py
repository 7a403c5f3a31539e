"""Announcing a model version: its profile goes into the log, before its first event."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from producer.events import ModelUpdate
from producer.identity import uuid7
from producer.writer import LogWriter
from stream_monitor.reference.profile import ReferenceProfile, profile_to_data


def announce(
    bootstrap_servers: str,
    profile: ReferenceProfile,
    *,
    prefix: str = "driftline",
    shards: int = 1,
    librdkafka: Mapping[str, Any] | None = None,
) -> str:
    """Write the `ModelUpdate` to every partition the model routes to; answers its id.

    When this returns it is acknowledged, and events of the version may follow.

    Raises:
        Undelivered: it was not acknowledged.
    """
    now_ms = round(time.time() * 1000)
    update = ModelUpdate(
        id=uuid7(now_ms),
        model=profile.model,
        version=profile.version,
        time_ms=now_ms,
        profile=profile_to_data(profile),
    )
    writer = LogWriter(
        bootstrap_servers,
        topic_prefix=prefix,
        source="/driftline/announce",
        shards=shards,
        librdkafka=librdkafka,
    )
    writer.write(update)
    writer.flush()
    return update.id
