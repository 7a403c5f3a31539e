"""Reads and writes texts in consumer-group commits, for processes that never join the group.

A process that keeps its positions elsewhere commits them to a group as well, with a text about
itself.  Other processes see from any machine that it runs, and how far it has read.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

import msgspec
from confluent_kafka import KafkaException, TopicPartition

from producer.kafka_client import consumer_of
from producer.permission import explained_denial, is_denied

MAX_METADATA_BYTES: Final = 3_500
"""Brokers accept 4,096 bytes by default."""
_TIMEOUT_S: Final = 10.0


class Heartbeat(Protocol):
    """The text of a process's heartbeat, with the clock of the process (ms)."""

    @property
    def time_ms(self) -> int:
        """The clock of the process."""


H = TypeVar("H", bound=Heartbeat)


class LastHeartbeat(NamedTuple, Generic[H]):
    """The latest heartbeat of a process, and its next offset of each partition."""

    heartbeat: H
    positions: dict[int, int]


class Commits(NamedTuple):
    """The next offset and the metadata of each partition that has a commit."""

    positions: dict[int, int]
    texts: list[str]


def offsets_with_metadata(
    topic: str, positions: Mapping[int, int], text: str
) -> list[TopicPartition]:
    """The offsets to commit, each with ``text``."""
    return [TopicPartition(topic, p, max(0, at), text) for p, at in sorted(positions.items())]


def read_commits(client: Mapping[str, Any], group: str, topic: str, partitions: int) -> Commits:
    """The group's commits, read by a consumer that does not join it.

    An admin client's request for them can crash the process: see `admin_client`.

    Raises:
        KafkaException: no broker answers, or one denies access.
    """
    places = [TopicPartition(topic, p) for p in range(partitions)]
    consumer = consumer_of(client, group=group)
    try:
        committed = consumer.committed(places, timeout=_TIMEOUT_S)
    except KafkaException as error:
        while (message := consumer.poll(0)) is not None:
            reason = message.error()
            if reason is not None and is_denied(reason):
                denied = explained_denial(reason, "Describe", f"group {group}", client)
                raise KafkaException(denied) from error
        raise
    finally:
        consumer.close()
    for place in committed:
        if place.error is not None:
            raise KafkaException(place.error)
    found = [place for place in committed if place.offset >= 0]
    return Commits(
        {place.partition: place.offset for place in found},
        [place.metadata or "" for place in found],
    )


def latest_heartbeat(
    client: Mapping[str, Any], group: str, topic: str, partitions: int, of: type[H]
) -> LastHeartbeat[H] | None:
    """The latest heartbeat of type ``of`` in a group's commits; ``None`` where there is none.

    Raises:
        KafkaException: no broker answers, or one denies access.
    """
    commits = read_commits(client, group, topic, partitions)
    found: list[H] = []
    for text in commits.texts:
        with suppress(msgspec.MsgspecError):
            found.append(msgspec.json.decode(text, type=of))
    if not found:
        return None
    return LastHeartbeat(max(found, key=lambda each: each.time_ms), commits.positions)
