"""Records are placed as Java's default partitioner places them."""

from __future__ import annotations

import pytest
from confluent_kafka import Producer

from producer.routing import key_of, murmur2, partition_of

# Vectors of Apache Kafka's own test of this hash.
VECTORS = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
}


@pytest.mark.parametrize(("text", "expected"), VECTORS.items())
def test_the_hash_is_kafkas(text: str, expected: int) -> None:
    assert murmur2(text.encode()) == expected


def test_librdkafka_with_our_partitioner_agrees(mock_broker: str) -> None:
    placed: dict[str, int] = {}
    producer = Producer({"bootstrap.servers": mock_broker, "partitioner": "murmur2_random"})
    for i in range(50):
        producer.produce(
            "t",
            b"",
            key=f"model-{i}",
            on_delivery=lambda _, m: placed.update({str(m.key(), "ascii"): m.partition()}),  # type: ignore[arg-type,dict-item]
        )
    assert producer.flush(10) == 0
    n = len(producer.list_topics("t", timeout=5).topics["t"].partitions)

    assert n > 1
    assert placed == {f"model-{i}": partition_of(f"model-{i}", n) for i in range(50)}


def test_labels_go_to_the_shard_of_their_prediction() -> None:
    keys = {key_of("fraud", f"e{i}", shards=4) for i in range(200)}

    assert keys == {f"fraud/{k}" for k in range(4)}
