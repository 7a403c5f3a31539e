"""The stream all programs of the benchmark read: a model with ten features, one JSON each."""

from __future__ import annotations

from typing import Final

import numpy as np
from confluent_kafka import Producer

from driftline.topics import topic_registry
from producer.arrow_batch import batch_headers, pack
from producer.cloudevents import Headers, event_headers
from producer.codec import encode
from producer.events import InferenceEvent
from producer.ids import uuid7
from producer.routing import partition_of, topic_names
from stream_monitor.reference.fit import fit_profile
from stream_monitor.reference.profile import ReferenceProfile

MODEL: Final = "bench"
VERSION: Final = "1"
FEATURES: Final = tuple(f"feature_{i}" for i in range(10))
REFERENCE_EVENTS: Final = 10_000
START_MS: Final = 1_700_000_000_000
SOURCE: Final = "/driftline/bench"
N_PARTITIONS: Final = topic_registry.load_registry("bench")[0].partitions
PARTITION: Final = partition_of(MODEL, N_PARTITIONS)
BATCH_ROWS: Final = 500
_SEED: Final = 7
_FLUSH_S: Final = 60


def profile() -> ReferenceProfile:
    """The reference: ten independent normal features, a prediction between 0 and 1."""
    rng = np.random.default_rng(_SEED)
    values = rng.standard_normal((REFERENCE_EVENTS, len(FEATURES)))
    return fit_profile(
        MODEL,
        VERSION,
        {name: values[:, i] for i, name in enumerate(FEATURES)},
        predictions=rng.random(REFERENCE_EVENTS).tolist(),
        task="binary",
        origin="training",
    )


def events(n: int) -> list[bytes]:
    """``n`` events as they stand in the log, a hundred a second of event time."""
    return list(map(encode, inference_events(n)))


def inference_events(n: int) -> list[InferenceEvent]:
    """The same events before they are encoded."""
    rng = np.random.default_rng(_SEED + 1)
    values = rng.standard_normal((n, len(FEATURES))).round(6).tolist()
    predictions = rng.random(n).round(6).tolist()
    return [
        InferenceEvent(
            id=uuid7(START_MS + 10 * i),
            model=MODEL,
            version=VERSION,
            time_ms=START_MS + 10 * i,
            features=dict(zip(FEATURES, values[i], strict=True)),
            prediction=predictions[i],
        )
        for i in range(n)
    ]


def write(bootstrap_servers: str, prefix: str, n: int) -> None:
    """Append ``n`` events to the model's partition of the log, headers and all."""
    sample = InferenceEvent(
        id="", model=MODEL, version=VERSION, time_ms=0, features={}, prediction=0.0
    )
    _write(bootstrap_servers, prefix, events(n), event_headers(sample, source=SOURCE))


def write_batches(bootstrap_servers: str, prefix: str, n: int) -> None:
    """Append the same events as batches of `BATCH_ROWS`."""
    rows = inference_events(n)
    values = [pack(rows[start : start + BATCH_ROWS]).value for start in range(0, n, BATCH_ROWS)]
    _write(bootstrap_servers, prefix, values, batch_headers("batch", SOURCE))


def _write(bootstrap_servers: str, prefix: str, values: list[bytes], headers: Headers) -> None:
    producer = Producer(
        {"bootstrap.servers": bootstrap_servers, "linger.ms": 20, "compression.type": "lz4"}
    )
    topic = topic_names(prefix).events
    for i, value in enumerate(values):
        producer.produce(topic, value, key=MODEL, partition=PARTITION, headers=headers)
        if i % 1_000 == 0:
            producer.poll(0)
    left = producer.flush(_FLUSH_S)
    if left:
        raise RuntimeError(f"{left} of {len(values)} records were not acknowledged")
