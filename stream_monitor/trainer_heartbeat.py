"""The trainer's heartbeat: an advisory commit that contains when it was last alive, and where.

The trainer keeps its positions in its own file.  Every few seconds it also commits them to a
consumer group, with a heartbeat in the commit's metadata: `driftline status` and `driftline doctor`
see from any machine that a trainer runs, and how far it has read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from confluent_kafka import KafkaException, TopicPartition

from producer.kafka_client import consumer_of
from producer.permission import explained_denial, is_denied

HEARTBEAT_INTERVAL_S: Final = 5.0
_TIMEOUT_S: Final = 10.0


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


class LastHeartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """A trainer's latest heartbeat, and its next offset of each partition of the alerts topic."""

    heartbeat: TrainerHeartbeat
    positions: dict[int, int]


def heartbeat_offsets(
    heartbeat: TrainerHeartbeat, topic: str, positions: Mapping[int, int]
) -> list[TopicPartition]:
    """The offsets to commit, with ``heartbeat`` as metadata; models beyond 4 KB are left out."""
    note = msgspec.json.encode(heartbeat).decode()
    if len(note.encode()) > 3_500:
        note = msgspec.json.encode(msgspec.structs.replace(heartbeat, models=[])).decode()
    return [TopicPartition(topic, p, max(0, at), note) for p, at in sorted(positions.items())]


def last_heartbeat(
    client: Mapping[str, Any], prefix: str, topic: str, partitions: int
) -> LastHeartbeat | None:
    """The latest heartbeat of a trainer of this prefix; ``None`` where no trainer ever ran.

    Raises:
        KafkaException: no broker answers, or one denies access.
    """
    places = [TopicPartition(topic, p) for p in range(partitions)]
    committed = _committed(client, trainer_group(prefix), places)
    notes = []
    positions = {}
    for place in committed:
        if place.error is not None:
            raise KafkaException(place.error)
        if place.offset < 0:
            continue
        positions[place.partition] = place.offset
        try:
            notes.append(msgspec.json.decode(place.metadata or "", type=TrainerHeartbeat))
        except msgspec.MsgspecError:
            continue
    if not notes:
        return None
    return LastHeartbeat(heartbeat=max(notes, key=lambda note: note.time_ms), positions=positions)


def _committed(
    client: Mapping[str, Any], group: str, places: list[TopicPartition]
) -> list[TopicPartition]:
    """The group's commits, read by a consumer that does not join it.

    An admin client's request for them can crash the process: see `admin_client`.
    """
    consumer = consumer_of(client, group=group)
    try:
        return consumer.committed(places, timeout=_TIMEOUT_S)
    except KafkaException as error:
        while (message := consumer.poll(0)) is not None:
            reason = message.error()
            if reason is not None and is_denied(reason):
                denied = explained_denial(reason, "Describe", f"group {group}", client)
                raise KafkaException(denied) from error
        raise
    finally:
        consumer.close()
