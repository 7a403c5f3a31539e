"""The cost of an event in the core, by the numbers of features, models and partitions.

    python -m tests.benchmarks.core_costs

CPU time of decoding, detection, windows and changed state, the least of some rounds; without Kafka
and Redis.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from producer.codec import encode
from producer.events import CE_TYPE_OF, InferenceEvent, ModelUpdate
from stream_monitor.core.partition import PartitionMonitor
from stream_monitor.core.spec import MonitorSpec
from stream_monitor.ingest.records import ConsumerRecord, RecordBatch
from stream_monitor.reference.profile import profile_to_data
from tests.benchmarks import workload

BATCH_EVENTS: Final = 4_096
"""Events of all partitions together that are read at once, as a worker with a backlog does."""
N_VALUES: Final = 400_000
"""Feature values of a round."""
ROUNDS: Final = 2
_COMMIT_EVERY: Final = 4
_EVENT: Final = CE_TYPE_OF[InferenceEvent]


class Load(NamedTuple):
    """A load: every partition has models of its own."""

    n_features: int = 10
    n_models: int = 1
    n_partitions: int = 1


FEATURES: Final = (1, 10, 100, 1_000)
MODELS: Final = (1, 10, 200, 1_000)
PARTITIONS: Final = (1, 10, 100)


class _Partition:
    """A partition's monitor and its records."""

    def __init__(self, number: int, load: Load, n_events: int) -> None:
        names = [f"model-{number}-{i}" for i in range(load.n_models)]
        spec = MonitorSpec(max_models=max(load.n_models, MonitorSpec().max_models))
        self._monitor, self._next, self._number = PartitionMonitor("costs", number, spec), 0, number
        for name in names:
            profile = profile_to_data(workload.profile(name, load.n_features))
            update = ModelUpdate(
                id=name, model=name, version=workload.VERSION, time_ms=0, profile=profile
            )
            self.observe([(CE_TYPE_OF[ModelUpdate], encode(update))])
        events = workload.inference_events(n_events, names, load.n_features)
        self.records = [(_EVENT, encode(event)) for event in events]

    def observe(self, records: Sequence[tuple[str, bytes]]) -> None:
        first = self._next
        self._next += len(records)
        found = [
            ConsumerRecord(first + i, workload.START_MS + 10 * (first + i), kind, value)
            for i, (kind, value) in enumerate(records)
        ]
        self._monitor.observe(RecordBatch("costs", self._number, "", first, self._next, found))

    def commit(self) -> None:
        self._monitor.take_changes()


def cost_us(load: Load) -> float:
    """Microseconds of CPU an event."""
    n_events = max(BATCH_EVENTS, N_VALUES // load.n_features)
    each = max(1, n_events // load.n_partitions)
    return min(_round(load, each) for _ in range(ROUNDS))


def _round(load: Load, n_events: int) -> float:
    partitions = [_Partition(number, load, n_events) for number in range(load.n_partitions)]
    size = max(1, BATCH_EVENTS // load.n_partitions)
    began = time.process_time()
    for turn, start in enumerate(range(0, n_events, size), 1):
        for partition in partitions:
            partition.observe(partition.records[start : start + size])
            if turn % _COMMIT_EVERY == 0:
                partition.commit()
    return (time.process_time() - began) / (n_events * load.n_partitions) * 1e6


def all_costs(*, quick: bool = False) -> Iterator[tuple[Load, float]]:
    """The cost of each load, one dimension after the other."""
    loads = [Load(n_features=n) for n in FEATURES]
    loads += [Load(n_models=n) for n in MODELS[1 : 3 if quick else None]]
    loads += [Load(n_partitions=n) for n in PARTITIONS[1:]]
    for load in loads:
        yield load, cost_us(load)


def main() -> None:
    """Print the costs."""
    for load, cost in all_costs():
        print(
            f"{load.n_features:5,} features  {load.n_models:5,} models  {load.n_partitions:3} "
            f"partitions  {cost:8.1f} us an event",
            flush=True,
        )


if __name__ == "__main__":
    main()
