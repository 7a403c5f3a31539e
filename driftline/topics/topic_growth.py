"""Add partitions to the event topic, or shards to a model, in the right order.

First everything that can fail is checked, then Kafka adds the partitions, then the references of
the models that move are copied to their new partitions, and last a `Topology` is written to each
partition.  If another tool added the partitions, a running monitor does the last two steps itself;
records that both write are applied once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import NewPartitions  # type: ignore[attr-defined]

from driftline.monitor_state.placement_report import moved_models, topology_of
from driftline.topics.topic_registry import CREATE_S, TIMEOUT_S
from producer.events import ModelUpdate, Topology
from producer.kafka_client import admin_client
from producer.permission import explained_denial
from producer.writer import EventWriter
from stream_monitor.core.partition import PartitionMonitor
from stream_monitor.core.reference_transfer import (
    is_needed,
    next_topology,
    transfer_record,
    transfers_of,
)

SOURCE: Final = "/driftline/topics-grow"


class ReferenceCopy(NamedTuple):
    """A model update to write to a partition that lacks the reference."""

    update: ModelUpdate
    partition: int


class GrowthPlan(NamedTuple):
    """The records to write, and the partitions of each model that moves, before and after."""

    before: int
    topology: Topology
    moved: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    copies: list[ReferenceCopy]
    outdated: list[int]
    """Partitions without the new topology."""


def plan_growth(
    monitors: Sequence[PartitionMonitor],
    before: int,
    partitions: int,
    shards: Mapping[str, int],
    now_ms: int,
) -> GrowthPlan:
    """Plan a growth from ``before`` to ``partitions`` partitions.  Pure.

    ``monitors`` holds the state of each partition that has one, ``shards`` the new number of shards
    by model.
    """
    by_partition = {monitor.partition: monitor for monitor in monitors}
    known = topology_of(monitors)
    topology = next_topology(known, partitions, dict(shards), now_ms)
    if known is None and before != partitions:
        topology = msgspec.structs.replace(topology, before=(before, {}))
    generations = {m.partition: m.placement.generation for m in monitors}
    return GrowthPlan(
        before,
        topology,
        moved_models(monitors, topology),
        list(_copies(by_partition, topology, now_ms)),
        [p for p in range(partitions) if generations.get(p, 0) < topology.generation],
    )


def _copies(
    monitors: Mapping[int, PartitionMonitor], topology: Topology, now_ms: int
) -> Iterator[ReferenceCopy]:
    for partition, monitor in monitors.items():
        for move in transfers_of(monitor.models.values(), partition, topology):
            if move.late:  # the workers copy these once the topology is known everywhere
                continue
            for target in move.partitions:
                there = monitors.get(target)
                model = None if there is None else there.models.get(move.profile.model)
                held = None if model is None else model.versions.get(move.profile.version)
                origin = None if held is None else held.profile.origin
                if is_needed(move, origin, topology):
                    yield ReferenceCopy(
                        transfer_record(move, partition, topology.generation, now_ms), target
                    )


def add_partitions(client: Mapping[str, Any], topic: str, partitions: int) -> None:
    """Let Kafka add partitions, and wait until each has a leader.

    Raises:
        KafkaException: no broker answers, Kafka rejects the request, or it takes longer than
            `CREATE_S`.
    """
    admin = admin_client(client)
    for answer in admin.create_partitions(
        [NewPartitions(topic, partitions)], operation_timeout=CREATE_S
    ).values():
        try:
            answer.result(timeout=CREATE_S)
        except KafkaException as error:
            resource = f"topic {topic}"
            denial = explained_denial(error.args[0], "Alter", resource, client)
            raise KafkaException(denial) from error
    deadline = time.monotonic() + CREATE_S
    while time.monotonic() < deadline:
        found = admin.list_topics(topic, timeout=TIMEOUT_S).topics[topic].partitions
        if len(found) >= partitions and all(part.leader >= 0 for part in found.values()):
            return
        time.sleep(0.05)
    raise KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))


def write(
    growth: GrowthPlan, bootstrap_servers: str, prefix: str, librdkafka: Mapping[str, Any] | None
) -> None:
    """Write the references, wait for their acknowledgement, then write the topology.

    Raises:
        DeliveryError: Kafka did not acknowledge a record; repeating the command writes the rest.
    """
    writer = EventWriter(
        bootstrap_servers, topic_prefix=prefix, source=SOURCE, librdkafka=librdkafka
    )
    for update, partition in growth.copies:
        writer.write(update, partition=partition)
    writer.flush()
    for partition in growth.outdated:
        writer.write(growth.topology, partition=partition)
    writer.flush()
