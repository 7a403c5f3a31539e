"""The registry of topics, ``infra/topics.toml``, and making the cluster agree with it."""

from __future__ import annotations

import time
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic  # type: ignore[attr-defined]

from driftline.commands.findings import WantedTopic
from producer.reach import reached

TIMEOUT_S: Final = 5.0
CREATE_S: Final = 20.0
MAX_REPLICAS: Final = 3
_PACKED: Final = Path(__file__).with_name("topics.toml")  # where the wheel carries it
_IN_TREE: Final = Path(__file__).parent.parent / "infra" / "topics.toml"


class _Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    partitions: int
    about: str = ""
    config: dict[str, str] = {}


def load_registry(prefix: str, text: str | None = None) -> list[WantedTopic]:
    """All topics by their full names; ``text`` instead of the file that ships with driftline.

    >>> load_registry("p", '[topics."events.v1"]' + chr(10) + "partitions = 4")[0].name
    'p.events.v1'
    """
    if text is None:
        text = (_PACKED if _PACKED.is_file() else _IN_TREE).read_text("utf-8")
    entries = msgspec.convert(tomllib.loads(text)["topics"], dict[str, _Entry])
    return [
        WantedTopic(name=f"{prefix}.{name}", partitions=entry.partitions, config=entry.config)
        for name, entry in entries.items()
    ]


def missing(wanted: Sequence[WantedTopic], existing: Mapping[str, int]) -> list[WantedTopic]:
    """Topics that have to be made."""
    return [topic for topic in wanted if topic.name not in existing]


def existing_topics(client: Mapping[str, Any]) -> dict[str, int]:
    """Topics of the cluster and how many partitions they have.

    Raises:
        KafkaException: nobody answers.
    """
    found = reached(client, TIMEOUT_S).cluster.topics
    return {name: len(topic.partitions) for name, topic in found.items()}


def create_topics(client: Mapping[str, Any], wanted: Sequence[WantedTopic]) -> list[str]:
    """Make what is missing, and wait until it is there; answers the names.

    Raises:
        KafkaException: nobody answers, or a topic was refused.
    """
    admin, cluster = reached(client, TIMEOUT_S)
    new = missing(wanted, dict.fromkeys(cluster.topics, 0))
    if not new:
        return []
    replicas = max(1, min(MAX_REPLICAS, len(cluster.brokers)))
    asked = [
        NewTopic(
            topic.name,
            num_partitions=topic.partitions,
            replication_factor=replicas,
            config=dict(topic.config),
        )
        for topic in new
    ]
    for answer in admin.create_topics(asked, operation_timeout=CREATE_S).values():
        try:
            answer.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
    _wait_for(admin, [topic.name for topic in new])
    return [topic.name for topic in new]


def delete_topics(client: Mapping[str, Any], names: Sequence[str]) -> None:
    """Remove topics; those that are gone already are fine."""
    admin = _admin(client)  # a client that nobody holds is destroyed, and its answers with it
    for answer in admin.delete_topics(list(names)).values():
        try:
            answer.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise


def topic_config(client: Mapping[str, Any], names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Settings of topics, as far as the broker tells them."""
    asked = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
    found: dict[str, dict[str, str]] = {}
    admin = _admin(client)
    for resource, answer in admin.describe_configs(asked).items():
        try:
            settings = answer.result(timeout=TIMEOUT_S)
        except KafkaException:
            continue
        found[resource.name] = {name: str(entry.value) for name, entry in settings.items()}
    return found


def _wait_for(admin: AdminClient, names: Sequence[str]) -> None:
    """A topic that was just made is not known everywhere at once."""
    deadline = time.monotonic() + CREATE_S
    while time.monotonic() < deadline:
        known = admin.list_topics(timeout=TIMEOUT_S).topics
        if all(name in known and known[name].partitions for name in names):
            return
        time.sleep(0.05)
    raise KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))


def _admin(client: Mapping[str, Any]) -> AdminClient:
    return AdminClient({"log_level": 0, **client})
