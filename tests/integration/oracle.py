"""The oracle: the fold of a log by one who never dies and never sees a batch of the monitor's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

from stream_monitor.core.partition import PartitionMonitor
from stream_monitor.ingest.records import ConsumerRecord, RecordBatch
from stream_monitor.state.monitor_state import MonitorStateFactory
from stream_monitor.state.partition_state import ALERT, WINDOW
from stream_monitor.windows.closed_window import window_key
from stream_monitor.windows.performance import performance_key

ORACLE_BATCH: Final = 50_000
"""Records that are folded at once."""
LETHAL: Final = b'{"ends": "whoever folds it in"}'
"""A record that ends a process of `tests.chaos.crashing_worker`; what stays is its dead letter."""


class Found(NamedTuple):
    """What a fold of the log leads to: stored fields by partition, and ids of what leaves.

    ``bodies`` are alerts by id and windows by key, as bytes; ``figures`` are those of windows
    whose labels may still come, by key, without the offset: that is where a batch was cut.
    """

    state: dict[int, dict[str, bytes]]
    alerts: set[str]
    windows: set[str]
    dead_letters: set[str]
    bodies: dict[str, bytes]
    figures: dict[str, tuple[int, float]]


class Undisturbed:
    """Takes the records of a log, each partition in its order.

    Those that workers ``skipped`` by reference, by partition and offset, it skips too: that is what
    follows from no log, and their dead letters are the record of it.
    """

    def __init__(
        self,
        folds: MonitorStateFactory,
        topic: str,
        n_partitions: int,
        skipped: Collection[tuple[int, int]] = (),
    ) -> None:
        self._topic, self._prefix, self._skipped = topic, folds.prefix, frozenset(skipped)
        self._monitors = [folds.new(topic, p) for p in range(n_partitions)]
        self._waiting: dict[int, list[ConsumerRecord]] = defaultdict(list)
        self._found = Found({p: {} for p in range(n_partitions)}, set(), set(), set(), {}, {})

    def take(self, partition: int, record: ConsumerRecord) -> None:
        """The next record of a partition."""
        if record.value == LETHAL or (partition, record.offset) in self._skipped:
            self._fold(partition)
            self._monitors[partition].skip(record)
            self._found.dead_letters.add(f"{self._topic}:{partition}:{record.offset}")
            return
        self._waiting[partition].append(record)
        if len(self._waiting[partition]) == ORACLE_BATCH:
            self._fold(partition)

    def found(self, upto: Sequence[int]) -> Found:
        """What all of it led to, where the partitions stand at these offsets."""
        for partition, monitor in enumerate(self._monitors):
            self._fold(partition)
            self._found.figures.update(figures_of(monitor.monitor, self._prefix))
            if upto[partition] > 0:  # else nobody had anything to commit
                state = {n: v for n, v in monitor.changes().items() if v}
                self._found.state[partition] = state
        return self._found

    def _fold(self, partition: int) -> None:
        records = self._waiting.pop(partition, [])
        if not records:
            return
        start, end = records[0].offset, records[-1].offset + 1
        seen = self._monitors[partition].observe(
            RecordBatch(self._topic, partition, "oracle", start, end, records)
        )
        for prefix, names in ((ALERT, self._found.alerts), (WINDOW, self._found.windows)):
            bodies = _under(prefix, seen.outbox)
            names.update(bodies)
            self._found.bodies.update(bodies)
        self._found.dead_letters.update(letter.letter_id for letter in seen.dead_letters)


def _under(prefix: str, outbox: Mapping[str, bytes]) -> dict[str, bytes]:
    """Entries of a kind, without its prefix."""
    return {n.removeprefix(prefix): v for n, v in outbox.items() if n.startswith(prefix)}


def figures_of(monitor: PartitionMonitor, prefix: str) -> dict[str, tuple[int, float]]:
    """Number and mean of the losses of each window that still takes labels."""
    at = monitor.partition
    return {
        performance_key(prefix, window_key(prefix, model.name, version, start, at)): (n, total / n)
        for model in monitor.models.values()
        for version, windows in model.windows.items()
        for start, (n, total) in windows.performance._sums.items()
    }
