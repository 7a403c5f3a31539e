"""Read a topic from its beginning to its present end."""

from __future__ import annotations

from collections.abc import Iterator

from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition


def read_topic(broker: str, topic: str) -> list[Message]:
    """All records, each partition in its order."""
    return list(each_record(broker, topic))


def each_record(broker: str, topic: str) -> Iterator[Message]:
    """All records one by one, each partition in its order."""
    consumer = Consumer(
        {
            "bootstrap.servers": broker,
            "group.id": "reader",
            "enable.partition.eof": True,
            "receive.message.max.bytes": 1 << 30,
        }
    )
    numbers = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in numbers])
    ended = 0
    while ended < len(numbers):
        for message in consumer.consume(10_000, 0.2):
            ended += message.error() is not None
            if message.error() is None:
                yield message
    consumer.close()
