"""The trainer's heartbeat: an advisory commit that contains when it was last alive, and where.

The trainer keeps its positions in its own file.  Every few seconds it also commits them to a
consumer group, with a heartbeat in the commit's metadata: `driftline status` and `driftline doctor`
see from any machine that a trainer runs, and how far it has read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from confluent_kafka import TopicPartition

from stream_monitor.commit_metadata import (
    MAX_METADATA_BYTES,
    LastHeartbeat,
    latest_heartbeat,
    offsets_with_metadata,
)

HEARTBEAT_INTERVAL_S: Final = 5.0


def trainer_group(prefix: str) -> str:
    """The consumer group that a trainer commits to, and never joins.

    >>> trainer_group("driftline")
    'driftline.trainer'
    """
    return f"{prefix}.trainer"


def monitor_group(prefix: str) -> str:
    """The consumer group of the monitor's workers.

    >>> monitor_group("driftline")
    'driftline.monitor'
    """
    return f"{prefix}.monitor"


class TrainerHeartbeat(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A trainer's heartbeat: its clock (ms), models, unfinished jobs, and the URL of its pages."""

    time_ms: int
    models: list[str] = []
    jobs: int = 0
    web: str = ""


def heartbeat_offsets(
    heartbeat: TrainerHeartbeat, topic: str, positions: Mapping[int, int]
) -> list[TopicPartition]:
    """The offsets to commit, with ``heartbeat`` as metadata; models beyond 4 KB are left out."""
    note = msgspec.json.encode(heartbeat)
    if len(note) > MAX_METADATA_BYTES:
        note = msgspec.json.encode(msgspec.structs.replace(heartbeat, models=[]))
    return offsets_with_metadata(topic, positions, note.decode())


def last_heartbeat(
    client: Mapping[str, Any], prefix: str, topic: str, partitions: int
) -> LastHeartbeat[TrainerHeartbeat] | None:
    """The latest heartbeat of a trainer of this prefix; ``None`` where no trainer ever ran.

    Raises:
        KafkaException: no broker answers, or one denies access.
    """
    return latest_heartbeat(client, trainer_group(prefix), topic, partitions, TrainerHeartbeat)
