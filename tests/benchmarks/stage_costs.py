"""The cost of an event in each stage of the core, without Kafka and Redis.

    python -m tests.benchmarks.stage_costs

CPU time, the least of some rounds: the stages of one batch after the other, on the events of the
drain benchmark.  In the same rounds: River's detectors on every raw value.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeVar

from river.drift import ADWIN, PageHinkley

from producer.events import ModelUpdate
from stream_monitor.core.model import ModelMonitor
from stream_monitor.core.spec import MonitorSpec
from stream_monitor.ingest.batch import EventBatch
from stream_monitor.ingest.decode import decode
from stream_monitor.ingest.micro_batches import DecodedRecord, split_micro_batches
from stream_monitor.ingest.records import ConsumerRecord, RecordBatch
from tests.benchmarks import workload

T = TypeVar("T")
BATCH_EVENTS: Final = 4_096
BATCHES: Final = 12
ROUNDS: Final = 5


class Costs(NamedTuple):
    """Microseconds of CPU an event, of 10 features."""

    decode: float
    """Bytes to checked events, in their order."""
    columns: float
    """Events to typed columns."""
    detection: float
    """All channels of all series, episodes, windows."""
    river: float
    """River's ADWIN and Page-Hinkley on every raw value, in a plain loop."""

    def text(self) -> str:
        """One line."""
        return (
            f"core: decoding {self.decode:.1f} µs an event, columns {self.columns:.1f}, detection "
            f"{self.detection:.1f} (River on raw values {self.river:.1f}: "
            f"{self.detection / self.river:.2f} x)"
        )


def measure() -> Costs:
    """The costs, the least of `ROUNDS` rounds each."""
    values = workload.events(BATCH_EVENTS * BATCHES)
    kind = "io.driftline.inference.v1"
    logs = [
        [
            ConsumerRecord(1 + i, workload.START_MS + 10 * i, kind, values[i])
            for i in range(start, start + BATCH_EVENTS)
        ]
        for start in range(0, len(values), BATCH_EVENTS)
    ]
    rounds = [_round(logs) for _ in range(ROUNDS)]
    return Costs(*(min(cost) / len(values) * 1e6 for cost in zip(*rounds, strict=True)))


def _round(logs: list[list[ConsumerRecord]]) -> Costs:
    spec = MonitorSpec()
    model = ModelMonitor("bench", 0, workload.MODEL, spec)
    update = ModelUpdate(id="u", model=workload.MODEL, version=workload.VERSION, time_ms=0)
    model.update(update, workload.profile(), 0, 0)
    decoded, decoding = _timed(lambda: [_decoded(log, spec) for log in logs])
    plans, columns = _timed(
        lambda: [split_micro_batches(some, spec.max_micro_batch_offsets) for some in decoded]
    )
    batches = [
        batch for plan in plans for micro_batch in plan for batch in micro_batch.events.values()
    ]
    _, detection = _timed(lambda: [model.observe(batch) for batch in batches])
    _, river = _timed(lambda: _river(batches))
    return Costs(decoding, columns, detection, river)


def _decoded(log: list[ConsumerRecord], spec: MonitorSpec) -> Sequence[DecodedRecord]:
    batch = RecordBatch("bench", 0, "e", log[0].offset, log[-1].offset + 1, log)
    return decode(batch, spec.limits).entries


def _river(batches: list[EventBatch]) -> int:
    detectors = {name: (ADWIN(), PageHinkley()) for name in workload.FEATURES}
    drifts = 0
    for batch in batches:
        for name, column in batch.features.columns(workload.FEATURES).items():
            adwin, page_hinkley = detectors[name]
            for value in column:
                adwin.update(value)
                page_hinkley.update(value)
                drifts += adwin.drift_detected + page_hinkley.drift_detected
    return drifts


def _timed(action: Callable[[], T]) -> tuple[T, float]:
    began = time.process_time()
    done = action()
    return done, time.process_time() - began


if __name__ == "__main__":
    print(measure().text())
