"""A plain consumer as a worker: commits after processing, River on raw values, counts in Redis.

python -m tests.chaos.baseline_consumer BROKER REDIS PREFIX
"""

from __future__ import annotations

import json
import sys
from typing import Any

import redis
from confluent_kafka import Consumer, KafkaException, Producer

from tests.chaos.baseline_scoring import Watch, alerts_of, counts_of, events_of

AT_ONCE = 100


def main() -> None:
    broker, redis_url, prefix = sys.argv[1:4]
    client = {"bootstrap.servers": broker}
    consumer = Consumer(
        {
            **client,
            "group.id": f"{prefix}-consumer",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "session.timeout.ms": 2_000,
            "heartbeat.interval.ms": 500,
        }
    )
    producer = Producer({**client, "enable.idempotence": True})
    counts: Any = redis.Redis.from_url(redis_url)
    watch = Watch()
    consumer.subscribe([events_of(prefix)])
    while True:
        messages = [one for one in consumer.consume(AT_ONCE, 0.2) if one.error() is None]
        for message in messages:
            event = json.loads(message.value() or b"")
            counts.hincrby(counts_of(prefix), event["id"], 1)
            for alert in watch.of(event["id"], event["model"], event["features"]):
                producer.produce(alerts_of(prefix), json.dumps(alert).encode())
        producer.flush()
        if messages:
            try:
                consumer.commit(asynchronous=False)
            except KafkaException:
                continue  # the group has rebalanced: another member reads these again


if __name__ == "__main__":
    main()
