"""The best loop by hand: batches from librdkafka, typed msgspec, River on every raw value.

    python -m tests.benchmarks.programs.handwritten_loop BOOTSTRAP TOPIC PARTITION EVENTS

No windows, no state, no reference, nothing kept: what a good engineer writes in an afternoon.
"""

from __future__ import annotations

import sys
import uuid

import msgspec
from confluent_kafka import Consumer, TopicPartition

from tests.benchmarks.programs.measured_run import MeasuredRun


class Event(msgspec.Struct):
    """An inference event."""

    id: str
    model: str
    version: str
    time_ms: int
    features: dict[str, float]
    prediction: float


def main(servers: str, topic: str, partition: int, n_wanted: int) -> None:
    """Read from the beginning."""
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": f"hand-{uuid.uuid4().hex[:8]}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.assign([TopicPartition(topic, partition, 1)])  # offset 0 is the model update
    decode = msgspec.json.Decoder(Event).decode
    run = MeasuredRun(n_wanted)
    while True:
        messages = consumer.consume(4_000, 0.05)
        for message in messages:
            run.watch(decode(message.value() or b"").features)
        if messages:
            consumer.commit(asynchronous=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
