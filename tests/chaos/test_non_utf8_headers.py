"""A header whose name is no UTF-8: clients of other languages may write one, Python's cannot."""

from __future__ import annotations

import asyncio
import struct
import time
import uuid
from typing import Any, Final

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition
from confluent_kafka import TopicPartition as AssignedPartition
from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]

from producer.cloudevents import ce_type_of, header_list
from producer.codec import encode
from producer.events import Event
from producer.kafka_client import admin_client, consumer_of, producer_of
from producer.routing import partition_of
from tests.integration.monitor_harness import (
    MODELS,
    MonitorHarness,
    assert_undisturbed,
    log_of,
    until,
)
from trainer.dataset.collector import Collector
from trainer.dataset.range_reader import RangeReader, ReadRange

pytestmark = pytest.mark.kafka

NAME: Final = b"name"
CRC_AT, CRC_FROM = 17, 21
N_READS: Final = 500
"""Python specialises the bytecode of a call after a few of them."""


def batch_of(value: bytes) -> bytes:
    """One record, the name of its header spoilt."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 20)
    builder.append(0, time.time_ns() // 1_000_000, None, value, [(NAME.decode(), b"x")])
    raw = bytearray(bytes(builder.build()).replace(NAME, b"\xff\xfeme"))
    struct.pack_into(">I", raw, CRC_AT, calc_crc32c(bytes(raw[CRC_FROM:])))
    return bytes(raw)


async def write(broker: str, topic: str, partition: int, raw: bytes) -> None:
    """As no client of ours could."""
    client = AIOKafkaClient(bootstrap_servers=broker)
    await client.bootstrap()
    await client.add_topic(topic)
    leader = client.cluster.leader_for_partition(TopicPartition(topic, partition))
    request = ProduceRequest(None, -1, 10_000, [(topic, [(partition, raw)])])
    answer = await client.send(leader, request)
    await client.close()
    assert answer.topics[0][1][0][1] == 0


def test_such_a_record_is_an_event_like_any_other(harness: MonitorHarness) -> None:
    log: list[Event | bytes] = list(log_of(MODELS[0], 1, 600))
    odd = next(log_of("other", 9))
    assert not isinstance(odd, bytes)
    partition = partition_of(MODELS[0], harness.partitions)
    monitor = harness.start(DRIFTLINE_KAFKA__TICK_AFTER_S="600")
    harness.produce(MODELS[0], log[:300])
    asyncio.run(write(harness.broker, harness.topics.events, partition, batch_of(encode(odd))))
    harness.produce(MODELS[0], log[300:])

    until(lambda: harness.drained(len(log) + 1), "all is read and the outbox is out")

    assert monitor.poll() is None
    monitor.terminate()
    assert monitor.wait(60) == 0
    assert_undisturbed(harness)
    whole = ReadRange(partition, 0, len(log) + 1)
    with RangeReader(
        harness.client, harness.topics.events, [whole], Collector("other", max_rows=9)
    ) as one:
        while not one.done:
            one.poll(1)
        assert one.read == len(log) + 1
        assert one.collector.newest_ms == odd.time_ms


def test_frequent_and_repeated_reads_of_headers_survive_such_a_name(kafka_broker: str) -> None:
    client = {"bootstrap.servers": kafka_broker}
    topic = f"h{uuid.uuid4().hex[:10]}"
    admin_client(client).create_topics([NewTopic(topic, 1, 1)])[topic].result(20)
    producer = producer_of(client)
    for _ in range(N_READS):
        producer.produce(topic, b"{}", partition=0, headers=[("ce_type", b"a")])
    assert producer.flush(20) == 0
    asyncio.run(write(kafka_broker, topic, 0, batch_of(b"{}")))
    consumer = consumer_of(client)
    consumer.assign([AssignedPartition(topic, 0, 0)])
    messages: list[Any] = []
    while len(messages) <= N_READS:
        messages += consumer.consume(N_READS, 1.0)
    consumer.close()

    assert [ce_type_of(message) for message in messages] == ["a"] * N_READS + [None]
    assert header_list(messages[-1]) == []
