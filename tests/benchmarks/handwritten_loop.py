"""The best loop by hand: batches from librdkafka, typed msgspec, River on every raw value.

    python -m tests.benchmarks.handwritten_loop BOOTSTRAP TOPIC EVENTS

No windows, no state, no reference, nothing kept: what a good engineer writes in an afternoon.
"""

from __future__ import annotations

import json
import sys
import time
import uuid

import msgspec
from confluent_kafka import Consumer, TopicPartition
from river.drift import ADWIN, PageHinkley

from tests.benchmarks.workload import PARTITION


class Event(msgspec.Struct):
    """An inference event."""

    id: str
    model: str
    version: str
    time_ms: int
    features: dict[str, float]
    prediction: float


def main(servers: str, topic: str, wanted: int) -> None:
    """Read from the beginning; print the rate."""
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": f"hand-{uuid.uuid4().hex[:8]}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.assign([TopicPartition(topic, PARTITION, 1)])  # offset 0 is the model update
    decode = msgspec.json.Decoder(Event).decode
    detectors: dict[str, tuple[ADWIN, PageHinkley]] = {}
    seen, drifts, began = 0, 0, 0.0
    while seen < wanted:
        for message in consumer.consume(4_000, 0.05):
            if not seen:
                began = time.perf_counter()
            event = decode(message.value() or b"")
            for name, value in event.features.items():
                pair = detectors.get(name)
                if pair is None:
                    pair = detectors[name] = (ADWIN(), PageHinkley())
                pair[0].update(value)
                pair[1].update(value)
                drifts += pair[0].drift_detected + pair[1].drift_detected
            seen += 1
        if seen:
            consumer.commit(asynchronous=True)
    seconds = time.perf_counter() - began
    print(json.dumps({"events": seen, "seconds": seconds, "drifts": drifts}), flush=True)
    consumer.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
