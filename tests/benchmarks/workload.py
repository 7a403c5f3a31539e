"""The stream all programs of the benchmark read: a model with ten features, one JSON each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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
_CHUNK: Final = 10_000
_MAX_QUEUED: Final = 50_000


def profile(
    model: str = MODEL, n_features: int = len(FEATURES), decimals: int | None = None
) -> ReferenceProfile:
    """The reference: independent normal features, a prediction between 0 and 1.

    ``decimals`` of its values: by default all that a float has.
    """
    rng = np.random.default_rng(_SEED)
    values = rng.standard_normal((REFERENCE_EVENTS, n_features))
    values = values if decimals is None else values.round(decimals)
    return fit_profile(
        model,
        VERSION,
        {f"feature_{i}": values[:, i] for i in range(n_features)},
        predictions=rng.random(REFERENCE_EVENTS).tolist(),
        task="binary",
        origin="training",
    )


def inference_events(
    n: int, models: Sequence[str] = (MODEL,), n_features: int = len(FEATURES)
) -> Iterator[InferenceEvent]:
    """``n`` events of the models in turns, a hundred a second of event time."""
    rng = np.random.default_rng(_SEED + 1)
    names = [f"feature_{i}" for i in range(n_features)]
    for start in range(0, n, _CHUNK):
        size = min(_CHUNK, n - start)
        values = rng.standard_normal((size, n_features)).round(6).tolist()
        predictions = rng.random(size).round(6).tolist()
        for i, (row, prediction) in enumerate(zip(values, predictions, strict=True), start):
            time_ms = START_MS + 10 * i
            yield InferenceEvent(
                id=uuid7(time_ms),
                model=models[i % len(models)],
                version=VERSION,
                time_ms=time_ms,
                features=dict(zip(names, row, strict=True)),
                prediction=prediction,
            )


def events(n: int) -> list[bytes]:
    """``n`` events of one model, as they are in the topic."""
    return list(map(encode, inference_events(n)))


def write(bootstrap_servers: str, prefix: str, n: int, models: Sequence[str] = (MODEL,)) -> None:
    """Append ``n`` events to the partitions of their models, with the headers of a logger."""
    records = (
        (event.model, encode(event), event_headers(event, source=SOURCE))
        for event in inference_events(n, models)
    )
    _write(bootstrap_servers, prefix, records)


def write_batches(bootstrap_servers: str, prefix: str, n: int) -> None:
    """Append ``n`` events of one model as batches of `BATCH_ROWS`."""
    rows = list(inference_events(n))
    headers = batch_headers("batch", SOURCE)
    records = (
        (MODEL, pack(rows[start : start + BATCH_ROWS]).value, headers)
        for start in range(0, n, BATCH_ROWS)
    )
    _write(bootstrap_servers, prefix, records)


def _write(
    bootstrap_servers: str, prefix: str, records: Iterable[tuple[str, bytes, Headers]]
) -> None:
    """Append records, each of a model, value and headers."""
    producer = Producer(
        {"bootstrap.servers": bootstrap_servers, "linger.ms": 20, "compression.type": "lz4"}
    )
    topic = topic_names(prefix).events
    for i, (model, value, headers) in enumerate(records):
        partition = partition_of(model, N_PARTITIONS)
        producer.produce(topic, value, key=model, partition=partition, headers=headers)
        if i % 1_000 == 0:
            producer.poll(0)
            while len(producer) > _MAX_QUEUED:  # a busy broker is slower than the generator
                producer.poll(0.1)
    left = producer.flush(_FLUSH_S)
    if left:
        raise RuntimeError(f"{left} records were not acknowledged")
