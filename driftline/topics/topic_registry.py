"""Read the topic registry, ``infra/topics.toml``, and create its topics."""

from __future__ import annotations

import socket
import time
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    PartitionMetadata,
)

from driftline.doctor.cluster_checks import Copies, TopicSpec
from producer.kafka_client import admin_client, connect_admin
from producer.permission import explained_denial, is_denied

TIMEOUT_S: Final = 5.0
CONNECT_S: Final = 2.0
CREATE_S: Final = 20.0
EVENT_TOPIC: Final = "events.v1"
CLUSTER_DEFAULT: Final = -1
"""The replication factor that selects the cluster's default."""
SAFE_REPLICAS: Final = 3
MIN_INSYNC: Final = "min.insync.replicas"
SAFE_INSYNC: Final = 2
"""With three replicas, one broker can be down, and acknowledged records are on another one."""
_REGISTRY_IN_WHEEL: Final = Path(__file__).parents[1] / "topics.toml"  # in a wheel
_REGISTRY_IN_SOURCE: Final = Path(__file__).parents[2] / "infra" / "topics.toml"


class _RegistryEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    partitions: Annotated[int, msgspec.Meta(ge=1)]
    about: str = ""
    config: dict[str, str] = {}


def load_registry(
    prefix: str, text: str | None = None, *, event_partitions: int | None = None
) -> list[TopicSpec]:
    """All topics of the registry, with their full names.

    ``text`` replaces the file that ships with driftline, ``event_partitions`` the registry's number
    of partitions of the event topic.

    Raises:
        ValueError: the text is not a topic registry.

    >>> text = '[topics."events.v1"]' + chr(10) + "partitions = 4"
    >>> [(topic.name, topic.partitions) for topic in load_registry("p", text, event_partitions=6)]
    [('p.events.v1', 6)]
    """
    if text is None:
        text = (
            _REGISTRY_IN_WHEEL if _REGISTRY_IN_WHEEL.is_file() else _REGISTRY_IN_SOURCE
        ).read_text("utf-8")
    try:
        entries = msgspec.convert(tomllib.loads(text)["topics"], dict[str, _RegistryEntry])
    except KeyError:
        raise ValueError("it has no table [topics]") from None
    if EVENT_TOPIC not in entries:
        raise ValueError(f'it has no topic "{EVENT_TOPIC}", the event topic')
    if event_partitions is not None:
        entries[EVENT_TOPIC] = msgspec.structs.replace(
            entries[EVENT_TOPIC], partitions=event_partitions
        )
    return [
        TopicSpec(name=f"{prefix}.{name}", partitions=entry.partitions, config=entry.config)
        for name, entry in entries.items()
    ]


def missing(wanted: Sequence[TopicSpec], existing: Mapping[str, int]) -> list[TopicSpec]:
    """Topics that do not exist yet."""
    return [topic for topic in wanted if topic.name not in existing]


def existing_topics(client: Mapping[str, Any]) -> dict[str, int]:
    """The topics of the cluster, and their numbers of partitions.

    Raises:
        KafkaException: no broker answers.
    """
    found = connect_admin(client, TIMEOUT_S).cluster.topics
    return {name: len(topic.partitions) for name, topic in found.items()}


def replicas_of(client: Mapping[str, Any]) -> tuple[dict[str, Copies], int]:
    """The replicas of each topic, and the number of brokers that are up.

    Raises:
        KafkaException: no broker answers.
    """
    cluster = connect_admin(client, TIMEOUT_S).cluster
    copies = {name: _copies_of(topic.partitions) for name, topic in cluster.topics.items()}
    return copies, len(cluster.brokers)


def silent_brokers(client: Mapping[str, Any]) -> list[str]:
    """Brokers of the cluster that this machine cannot reach, as ``id at host:port``.

    Raises:
        KafkaException: no broker answers.
    """
    brokers = connect_admin(client, TIMEOUT_S).cluster.brokers
    silent = []
    for number, broker in sorted(brokers.items()):
        try:
            socket.create_connection((broker.host, broker.port), CONNECT_S).close()
        except OSError:
            silent.append(f"{number} at {broker.host}:{broker.port}")
    return silent


def hidden_topics(client: Mapping[str, Any], names: Sequence[str]) -> dict[str, str]:
    """Topics that this client has no permission to describe, and the missing permission.

    Raises:
        KafkaException: no broker answers.
    """
    hidden = {}
    for name in names:
        error = admin_client(client).list_topics(name, timeout=TIMEOUT_S).topics[name].error
        if error is not None and is_denied(error):
            hidden[name] = explained_denial(error, "Describe", f"topic {name}", client).str()
    return hidden


def _copies_of(partitions: Mapping[int, PartitionMetadata]) -> Copies:
    absent = {p: set(part.replicas) - set(part.isrs) for p, part in partitions.items()}
    return Copies(
        replicas=min((len(part.replicas) for part in partitions.values()), default=0),
        lacking=tuple(sorted(p for p, missing in absent.items() if missing)),
        leaderless=tuple(sorted(p for p, part in partitions.items() if part.leader < 0)),
        absent=tuple(sorted(set().union(*absent.values()))),
    )


def create_topics(
    client: Mapping[str, Any],
    wanted: Sequence[TopicSpec],
    replication_factor: int = CLUSTER_DEFAULT,
) -> list[str]:
    """Create the missing topics, and wait until they exist; returns their names.

    The default replication factor is that of the cluster.  Topics with three replicas get a
    `MIN_INSYNC` of 2, unless theirs is higher.

    Raises:
        KafkaException: no broker answers, or Kafka rejects a topic.
    """
    admin, cluster = connect_admin(client, TIMEOUT_S)
    new = missing(wanted, dict.fromkeys(cluster.topics, 0))
    if not new:
        return []
    asked = [
        NewTopic(
            topic.name,
            num_partitions=topic.partitions,
            replication_factor=replication_factor,
            config=dict(topic.config),
        )
        for topic in new
    ]
    for topic, answer in admin.create_topics(asked, operation_timeout=CREATE_S).items():
        try:
            answer.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise _explained(error, "Create", topic, client) from error
    names = [topic.name for topic in new]
    _wait_for(admin, names)
    _set_min_insync_replicas(client, [topic for topic in new if MIN_INSYNC not in topic.config])
    return names


def delete_topics(client: Mapping[str, Any], names: Sequence[str]) -> None:
    """Delete topics; a topic that does not exist is no error."""
    admin = admin_client(client)
    for answer in admin.delete_topics(list(names)).values():
        try:
            answer.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise


def topic_config(client: Mapping[str, Any], names: Sequence[str]) -> dict[str, dict[str, str]]:
    """The settings of topics, as far as the broker reports them."""
    asked = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
    found: dict[str, dict[str, str]] = {}
    admin = admin_client(client)
    answers = admin.describe_configs(asked, request_timeout=TIMEOUT_S)
    for resource, answer in answers.items():
        try:
            settings = answer.result(timeout=2 * TIMEOUT_S)
        except (KafkaException, TimeoutError):
            continue
        found[resource.name] = {name: str(entry.value) for name, entry in settings.items()}
    return found


def _set_min_insync_replicas(client: Mapping[str, Any], made: Sequence[TopicSpec]) -> None:
    """Set `MIN_INSYNC` to 2 for topics with three replicas, so that one broker can be lost."""
    replicas, _ = replicas_of(client)
    safe = [
        topic.name
        for topic in made
        if topic.name in replicas and replicas[topic.name].replicas >= SAFE_REPLICAS
    ]
    configs = topic_config(client, safe) if safe else {}
    weak = [n for n in safe if int(configs.get(n, {}).get(MIN_INSYNC, "1")) < SAFE_INSYNC]
    if not weak:
        return
    entry = ConfigEntry(MIN_INSYNC, str(SAFE_INSYNC), incremental_operation=AlterConfigOpType.SET)
    asked = [
        ConfigResource(ConfigResource.Type.TOPIC, name, incremental_configs=[entry])
        for name in weak
    ]
    admin = admin_client(client)
    for answer in admin.incremental_alter_configs(asked).values():
        answer.result(timeout=CREATE_S)


def _wait_for(admin: AdminClient, names: Sequence[str]) -> None:
    """Wait until the brokers list the topics; metadata spreads with a delay."""
    deadline = time.monotonic() + CREATE_S
    while time.monotonic() < deadline:
        known = admin.list_topics(timeout=TIMEOUT_S).topics
        if all(name in known and known[name].partitions for name in names):
            return
        time.sleep(0.05)
    raise KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))


def _explained(
    error: KafkaException, operation: str, topic: str, client: Mapping[str, Any]
) -> KafkaException:
    return KafkaException(explained_denial(error.args[0], operation, f"topic {topic}", client))
