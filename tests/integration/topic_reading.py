"""Reading a whole topic, as it ends now."""

from __future__ import annotations

from confluent_kafka import Consumer, Message, TopicPartition


def read_topic(broker: str, topic: str) -> list[Message]:
    """All records, each partition in its order."""
    consumer = Consumer(
        {"bootstrap.servers": broker, "group.id": "reader", "enable.partition.eof": True}
    )
    numbers = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, 0) for number in numbers])
    messages: list[Message] = []
    ended = 0
    while ended < len(numbers):
        for message in consumer.consume(10_000, 0.2):
            ended += message.error() is not None
            messages += [message] if message.error() is None else []
    consumer.close()
    return messages
