"""From an event on the topic to its alert on the topic, while the monitor works at half load.

The features of some models change one after the other.  An alert names the event that decided it,
and the latency is the difference of the two records' timestamps: both are written by producers of
this machine.  The events are encoded before the first is sent: a generator that encodes takes the
CPU that the broker and the worker need, and the latency is then that of a full machine.

    python -m tests.benchmarks.alert_latency --events-per-s 8000 --models 4
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np
import redis

from driftline.monitor_state.partition_state import read_partition
from driftline.stack import LocalStack
from driftline.topics import topic_registry
from producer.codec import encode
from producer.events import InferenceEvent
from producer.ids import uuid7
from producer.kafka_client import producer_of
from producer.routing import partition_of, topic_names
from tests.benchmarks import workload
from tests.benchmarks.drain import Usage, monitors
from tests.integration.read_topic import each_record
from trainer.service.announce import announce

PREFIX: Final = "latency"
N_MODELS: Final = 4
SHIFT: Final = 2.0
BEFORE_CHANGES_S: Final = 4.0
CHANGES_S: Final = 6.0
"""The features change within this time, one after the other."""
REST_S: Final = 2.0
SLICE_S: Final = 0.005
READY_S: Final = 60.0


class _Decided(msgspec.Struct):
    """Where an alert was decided; a health event has no such place."""

    partition: int | None = None
    decided_offset: int | None = None


class Latency(NamedTuple):
    """Milliseconds from the deciding event's append to its alert's, over ``n_alerts`` alerts.

    ``worker_cpu_us`` and ``generator_cpu_us`` are the CPU time of both processes, an event.
    """

    p50_ms: float
    p99_ms: float
    n_alerts: int
    worker_cpu_us: float
    generator_cpu_us: float


def measure(stack: LocalStack, events_per_s: float, n_models: int = N_MODELS) -> Latency:
    """Run a worker and the traffic.

    Raises:
        RuntimeError: the worker does not start, or fewer alerts come than models change.
    """
    models = [f"model-{i}" for i in range(n_models)]
    client = {"bootstrap.servers": stack.bootstrap_servers}
    topic_registry.create_topics(client, topic_registry.load_registry(PREFIX))
    for model in models:
        announce(stack.bootstrap_servers, workload.profile(model), topic_prefix=PREFIX)
    names = topic_names(PREFIX)
    records = _records(events_per_s, models)
    with monitors(stack, PREFIX) as pids:
        _until_idle(stack, names.events, models)
        began = Usage.of(pids), time.process_time()
        _send(stack.bootstrap_servers, names.events, events_per_s, models, records)
        generator_s = time.process_time() - began[1]
        time.sleep(REST_S)
        worker_s = Usage.of(pids).cpu_s - began[0].cpu_s
    appended_ms = {
        (message.partition(), message.offset()): message.timestamp()[1]
        for message in each_record(stack.bootstrap_servers, names.events)
    }
    decode = msgspec.json.Decoder(_Decided).decode
    latencies = []
    for message in each_record(stack.bootstrap_servers, names.alerts):
        alert = decode(message.value() or b"")
        if alert.decided_offset is not None:
            at = alert.partition, alert.decided_offset
            latencies.append(message.timestamp()[1] - appended_ms[at])
    if len(latencies) < n_models:
        raise RuntimeError(f"only {len(latencies)} alerts of {n_models} models that changed")
    p50, p99 = np.quantile(latencies, (0.5, 0.99))
    worker_us, generator_us = (1e6 * cpu_s / len(records) for cpu_s in (worker_s, generator_s))
    return Latency(float(p50), float(p99), len(latencies), worker_us, generator_us)


def _until_idle(stack: LocalStack, topic: str, models: Sequence[str]) -> None:
    """Wait until the worker has committed the references of all models."""
    wanted = Counter(partition_of(model, workload.N_PARTITIONS) for model in models)
    deadline_s = time.monotonic() + READY_S
    with contextlib.closing(redis.Redis.from_url(stack.redis_url)) as store:
        while any((read_partition(store, topic, p).next or 0) < n for p, n in wanted.items()):
            if time.monotonic() > deadline_s:
                raise RuntimeError("the worker does not start")
            time.sleep(SLICE_S)


def _records(events_per_s: float, models: Sequence[str]) -> list[bytes]:
    """The values of all records, of the models in turns; the features change one by one."""
    rng = np.random.default_rng(1)
    seconds = np.arange(0, BEFORE_CHANGES_S + CHANGES_S + REST_S, 1 / events_per_s)
    values = rng.standard_normal((len(seconds), len(workload.FEATURES))).round(6)
    shape = len(models), len(workload.FEATURES)
    changes_s = BEFORE_CHANGES_S + np.linspace(0, CHANGES_S, shape[0] * shape[1]).reshape(shape)
    values += SHIFT * (seconds[:, None] >= changes_s[np.arange(len(seconds)) % len(models)])
    times_ms = time.time_ns() // 1_000_000 + (seconds * 1_000).astype(np.int64)
    return [
        encode(
            InferenceEvent(
                id=uuid7(time_ms),
                model=models[i % len(models)],
                version=workload.VERSION,
                time_ms=time_ms,
                features=dict(zip(workload.FEATURES, row.tolist(), strict=True)),
                prediction=0.5,
            )
        )
        for i, (time_ms, row) in enumerate(zip(times_ms.tolist(), values, strict=True))
    ]


def _send(
    bootstrap_servers: str,
    topic: str,
    events_per_s: float,
    models: Sequence[str],
    records: Sequence[bytes],
) -> None:
    """Send records of the models in turns, at a steady rate, with the logger's settings."""
    producer = producer_of({"bootstrap.servers": bootstrap_servers})
    partitions = [partition_of(model, workload.N_PARTITIONS) for model in models]
    began_s, n = time.monotonic(), 0
    while n < len(records):
        due = min(len(records), int((time.monotonic() - began_s) * events_per_s))
        for i in range(n, due):
            model = i % len(models)
            producer.produce(topic, records[i], key=models[model], partition=partitions[model])
        n = due
        producer.poll(0)
        time.sleep(SLICE_S)
    producer.flush(READY_S)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events-per-s", type=float, default=8_000.0)
    parser.add_argument("--models", type=int, default=N_MODELS)
    chosen = parser.parse_args()
    with LocalStack.start() as stack:
        print(measure(stack, chosen.events_per_s, chosen.models))


if __name__ == "__main__":
    main()
