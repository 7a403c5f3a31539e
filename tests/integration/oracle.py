"""The oracle: the state and output of an undisturbed run over the same log."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

from stream_monitor.core.partition import PartitionMonitor
from stream_monitor.ingest.event_numbers import NumberedRecords
from stream_monitor.ingest.records import ConsumerRecord, RecordBatch
from stream_monitor.state.partition_state import ALERT, WINDOW, BatchResult, PartitionStateFactory
from stream_monitor.windows.closed_window import window_key
from stream_monitor.windows.performance import performance_key

ORACLE_BATCH: Final = 50_000
"""Records of one oracle batch."""
FATAL_PREDICTION: Final = 0.123456789
"""The prediction of an event of a batch that ends such a process."""
CRASHING: Final = b'{"ends": "its worker"}'
"""A record that ends a process of `tests.chaos.crashing_worker`; it becomes a dead letter."""


class Found(NamedTuple):
    """Results of a log: stored fields by partition, and ids of alerts, windows and dead letters.

    ``bodies`` holds alerts by id and windows by key, as bytes.  ``figures`` holds number and mean
    of the errors of windows that still take labels, by key; the offset is left out because it
    depends on batch boundaries.
    """

    state: dict[int, dict[str, bytes]]
    alerts: set[str]
    windows: set[str]
    dead_letters: set[str]
    bodies: dict[str, bytes]
    figures: dict[str, tuple[int, float]]


class Undisturbed:
    """Applies the records of a log in large batches, without failures.

    ``skipped`` holds (partition, offset, row) of what workers skipped by reference.  The oracle
    skips them too, because the records do not determine them; dead letters record them.
    """

    def __init__(
        self,
        folds: PartitionStateFactory,
        topic: str,
        n_partitions: int,
        skipped: Collection[tuple[int, int, int | None]] = (),
    ) -> None:
        self._topic, self._prefix, self._skipped = topic, folds.prefix, frozenset(skipped)
        self._with_skipped_rows = {place[:2] for place in skipped if place[2] is not None}
        self._monitors = [folds.new(topic, p) for p in range(n_partitions)]
        self._waiting: dict[int, list[ConsumerRecord]] = defaultdict(list)
        self._found = Found({p: {} for p in range(n_partitions)}, set(), set(), set(), {}, {})

    def take(self, partition: int, record: ConsumerRecord) -> None:
        """Apply the next record of a partition."""
        if (partition, record.offset) in self._with_skipped_rows:
            self._fold(partition)
            self._fold_rows(partition, record)
            return
        if record.value == CRASHING or (partition, record.offset, None) in self._skipped:
            self._fold(partition)
            self._monitors[partition].skip(record)
            self._found.dead_letters.add(f"{self._topic}:{partition}:{record.offset}")
            return
        self._waiting[partition].append(record)
        if len(self._waiting[partition]) == ORACLE_BATCH:
            self._fold(partition)

    def found(self, upto: Sequence[int]) -> Found:
        """Results when the partitions are committed up to these offsets."""
        for partition, monitor in enumerate(self._monitors):
            self._fold(partition)
            self._found.figures.update(figures_of(monitor.monitor, self._prefix))
            if upto[partition] > 0:  # else no worker committed anything
                stored = self._found.state.get(partition, {}) | monitor.take_changes()
                self._found.state[partition] = {n: v for n, v in stored.items() if v}
        return self._found

    def _fold(self, partition: int) -> None:
        records = self._waiting.pop(partition, [])
        if not records:
            return
        start, end = records[0].offset, records[-1].offset + 1
        seen = self._monitors[partition].observe(
            RecordBatch(self._topic, partition, "oracle", start, end, records)
        )
        self._collect(seen)

    def _fold_rows(self, partition: int, record: ConsumerRecord) -> None:
        """Apply the rows of a batch but the skipped ones."""
        monitor, at = self._monitors[partition], record.offset
        batch = RecordBatch(self._topic, partition, "oracle", at, at + 1, [record])
        kept = []
        for row, part in monitor.decode_rows(batch):
            if (partition, at, row) in self._skipped:
                monitor.skip(record)
                self._found.dead_letters.add(f"{self._topic}:{partition}:{at}:{row}")
            else:
                kept.append(part)
        self._collect(monitor.observe_rows(NumberedRecords.joined(kept), at))

    def _collect(self, seen: BatchResult) -> None:
        for prefix, names in ((ALERT, self._found.alerts), (WINDOW, self._found.windows)):
            bodies = _under(prefix, seen.outbox)
            names.update(bodies)
            self._found.bodies.update(bodies)
        self._found.dead_letters.update(
            dead_letter.dead_letter_id for dead_letter in seen.dead_letters
        )


def _under(prefix: str, outbox: Mapping[str, bytes]) -> dict[str, bytes]:
    """Entries of a kind, without its prefix."""
    return {n.removeprefix(prefix): v for n, v in outbox.items() if n.startswith(prefix)}


def figures_of(monitor: PartitionMonitor, prefix: str) -> dict[str, tuple[int, float]]:
    """Number and mean of the errors of each window that still takes labels."""
    at = monitor.partition
    return {
        performance_key(prefix, window_key(prefix, model.name, version, start, at)): (n, total / n)
        for model in monitor.models.values()
        for version, windows in model.windows.items()
        for start, (n, total) in windows.performance._sums.items()
    }
