"""Placement: the partitions of a model's events, as the records of one partition describe it.

A `Topology` record contains the number of partitions of the event topic and the number of shards of
each model; the partitions of a model follow from these.  Only this record changes the placement:
Kafka is not asked, so a replay places every record as the first run did.

After a change of placement, the first events of a model are not made its reference here: they may
have drifted already.  Its reference is in another partition, whose owner copies it (a `ModelUpdate`
with ``moved_from``).  Until it arrives, the events are counted under a coverage reason; a model
whose reference has not arrived after `REFERENCE_TIMEOUT_MS` of the append clock warms up.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

import msgspec
import numpy as np

from producer.events import Label, Topology
from producer.routing import partitions_of_model
from producer.synthetic import is_synthetic
from stream_monitor.contracts import CoverageReason
from stream_monitor.ingest.batch import Ints
from stream_monitor.labels.join import LabelSpec

TimedLabel: TypeAlias = tuple[int, int, Label]
"""Offset, append time (ms), label."""

REFERENCE_TIMEOUT_MS: Final = 60_000
"""How long a model that moved to this partition waits for its reference."""


class WaitingEvents(NamedTuple):
    """The number of first events of a version that are not watched, and the reason."""

    n: int
    reason: CoverageReason


class PlacementState(msgspec.Struct, frozen=True, array_like=True):
    """The last `Topology`, with the offset and append clock of the last change of placement."""

    latest: Topology | None = None
    since_offset: int = -1
    since_ms: int = 0


class Placement:
    """The placement of models according to the last `Topology` that a partition contains."""

    def __init__(self, partition: int, state: PlacementState | None = None) -> None:
        """Start without a placement, or continue from `take_changes`."""
        self.partition = partition
        self._state = state or PlacementState()
        self._has_changes = False

    @property
    def latest(self) -> Topology | None:
        """The last `Topology`."""
        return self._state.latest

    @property
    def since_ms(self) -> int:
        """Append clock (ms) of the last change of placement."""
        return self._state.since_ms

    @property
    def generation(self) -> int:
        """Generation of the last `Topology`; 0 before the first."""
        return 0 if self.latest is None else self.latest.generation

    def take(self, topology: Topology, offset: int, clock_ms: int) -> bool:
        """Apply the `Topology` at ``offset``; return whether it changed anything.

        Raises:
            ValueError: with so few partitions this one would not exist.
        """
        if topology.partitions <= self.partition:
            raise ValueError(
                f"topology: {topology.partitions} partitions, in partition {self.partition}"
            )
        if topology.generation <= self.generation:
            return False
        known = self.latest
        changed, self._has_changes = True, True
        if known is not None:
            # This partition knows its own history better than the writer of the record.
            before = (known.partitions, known.shards)
            changed = before != (topology.partitions, topology.shards)
            topology = msgspec.structs.replace(topology, before=before if changed else known.before)
        if changed:
            self._state = PlacementState(topology, offset, clock_ms)
        else:
            self._state = msgspec.structs.replace(self._state, latest=topology)
        return changed

    def partitions_of(self, model: str) -> tuple[int, ...]:
        """The partitions of a model's events; empty before the first `Topology`."""
        now = self.latest
        return () if now is None else _partitions(model, now.shards.get(model, 1), now.partitions)

    def partitions_before(self, model: str) -> tuple[int, ...]:
        """The partitions of a model before the last change; empty where unknown."""
        if self.latest is None or self.latest.before is None or is_synthetic(model):
            return ()
        partitions, shards = self.latest.before
        return _partitions(model, shards.get(model, 1), partitions)

    def moved(self, model: str) -> bool:
        """Whether the last change moved the model, wholly or in part."""
        before = self.partitions_before(model)
        return bool(before) and before != self.partitions_of(model)

    def has_left(self, model: str) -> bool:
        """Whether the last change moved the model away from this partition."""
        return self.partition in self.partitions_before(model) and not self._belongs(model)

    def _is_unknown(self, model: str) -> bool:
        """Whether no move is known; a drill writes to the partitions of its live model."""
        return self.latest is None or self.latest.before is None or is_synthetic(model)

    def _belongs(self, model: str) -> bool:
        return self.partition in self.partitions_of(model)

    def waiting(self, model: str, clock_ms: Ints) -> WaitingEvents:
        """Return how many first events (n,) of a version wait for a reference, and the reason."""
        from_ms = self.admission_from_ms(model)
        if from_ms is None:
            return WaitingEvents(len(clock_ms), "routed_by_stale_metadata")
        return WaitingEvents(int(np.searchsorted(clock_ms, from_ms)), "no_profile")

    def admission_from_ms(self, model: str) -> int | None:
        """Append clock (ms) from which the model may be admitted; ``None``: never here."""
        if self._is_unknown(model):
            return 0
        if not self._belongs(model):
            return None
        return (
            0
            if self.partition in self.partitions_before(model)
            else self.since_ms + REFERENCE_TIMEOUT_MS
        )

    def labels_possibly_elsewhere(
        self, model: str, labels: Sequence[TimedLabel], spec: LabelSpec
    ) -> tuple[Ints, Ints]:
        """Return offsets and times of labels whose prediction may be in another partition."""
        appended = np.array([appended_ms for _, appended_ms, _ in labels], dtype=np.int64)
        offsets = np.array([offset for offset, _, _ in labels], dtype=np.int64)
        times_ms = np.array([label.time_ms for _, _, label in labels], dtype=np.int64)
        rows = self._rows_possibly_elsewhere(model, appended, spec.horizon_ms)
        return offsets[rows], times_ms[rows]

    def _rows_possibly_elsewhere(self, model: str, label_ms: Ints, horizon_ms: int) -> Ints:
        """Rows of labels (n,), by append time, whose prediction may be in another partition.

        For a model that moved, these are the labels within the horizon after the move; for a model
        of other partitions, all labels.
        """
        if self._is_unknown(model):
            return np.zeros(0, dtype=np.int64)
        if not self._belongs(model):
            return np.arange(len(label_ms), dtype=np.int64)
        recent = self.moved(model) & (label_ms < self.since_ms + horizon_ms)
        return np.flatnonzero(recent)

    def take_changes(self) -> PlacementState | None:
        """The state, if it changed since the last call."""
        has_changes, self._has_changes = self._has_changes, False
        return self._state if has_changes else None


@lru_cache(maxsize=4_096)
def _partitions(model: str, shards: int, n_partitions: int) -> tuple[int, ...]:
    """The partitions of all shards, and of the model's own key, which older servers may use."""
    whole = partitions_of_model(model, 1, n_partitions)
    return tuple(sorted({*whole, *partitions_of_model(model, shards, n_partitions)}))
