"""Which partition holds the events of which model, as far as the log of this partition says.

A `Topology` record says how many partitions the event topic has and how many shards each model has;
the partitions of a model follow from that.  It is the only thing that changes what is known here:
nothing is asked of Kafka, so a replay places every record as the first run did.

Where the placement of a model has changed, no reference is made of its first events here: they may
have drifted already.  Its reference lies in another partition, whose owner copies it to here (a
`ModelUpdate` with ``moved_from``).  Until it comes they are counted under a coverage reason; what
has none after `REFERENCE_TIMEOUT_MS` of the append clock never had one, and warms up.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from producer.events import Topology
from producer.routing import partitions_of_model
from producer.synthetic import is_synthetic
from stream_monitor.core.coverage import CoverageReason
from stream_monitor.ingest.batch import Ints

REFERENCE_TIMEOUT_MS: Final = 60_000
"""How long a model that has moved to here waits for its reference."""


class WaitingEvents(NamedTuple):
    """The first ``n`` events of a version are not watched, for this reason."""

    n: int
    reason: CoverageReason


class Placement:
    """What one partition knows of the placement of models: its last `Topology`, and since when."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.latest: Topology | None = None
        self.since_ms = 0
        self.since_offset = -1
        self._has_changes = False

    @property
    def generation(self) -> int:
        """Of the last `Topology`; 0 before the first."""
        return 0 if self.latest is None else self.latest.generation

    def take(self, topology: Topology, offset: int, clock_ms: int) -> bool:
        """A record at ``offset`` says how models are placed; whether that is news here.

        Raises:
            ValueError: it cannot be true, for this partition would not exist.
        """
        if topology.partitions <= self.partition:
            raise ValueError(
                f"topology: {topology.partitions} partitions, in partition {self.partition}"
            )
        if topology.generation <= self.generation:
            return False
        known = self.latest
        if known is not None:  # the log of this partition knows better than who wrote to it
            topology = msgspec.structs.replace(topology, before=(known.partitions, known.shards))
            if (known.partitions, known.shards) == (topology.partitions, topology.shards):
                topology = msgspec.structs.replace(topology, before=known.before)
                self.latest, self._has_changes = topology, True
                return False
        self.latest, self.since_ms, self.since_offset = topology, clock_ms, offset
        self._has_changes = True
        return True

    def partitions_of(self, model: str) -> tuple[int, ...]:
        """Where the events of a model belong; empty while nothing is known."""
        now = self.latest
        return () if now is None else _partitions(model, now.shards.get(model, 1), now.partitions)

    def partitions_before(self, model: str) -> tuple[int, ...]:
        """Where they belonged before the last change; empty where nobody knows."""
        if self.latest is None or self.latest.before is None or is_synthetic(model):
            return ()
        partitions, shards = self.latest.before
        return _partitions(model, shards.get(model, 1), partitions)

    def moved(self, model: str) -> bool:
        """Whether the last change placed the model elsewhere, wholly or in part."""
        before = self.partitions_before(model)
        return bool(before) and before != self.partitions_of(model)

    def has_left(self, model: str) -> bool:
        """Whether the model belonged here, and does so no more."""
        return self.partition in self.partitions_before(model) and not self._belongs(model)

    def _is_unknown(self, model: str) -> bool:
        """Whether nothing is known to have moved; a drill writes where its live model is."""
        return self.latest is None or self.latest.before is None or is_synthetic(model)

    def _belongs(self, model: str) -> bool:
        return self.partition in self.partitions_of(model)

    def waiting(self, model: str, clock_ms: Ints) -> WaitingEvents:
        """How many of the events (n,) of a version without a reference here are to wait for it."""
        from_ms = self.admission_from_ms(model)
        if from_ms is None:
            return WaitingEvents(len(clock_ms), "routed_by_stale_metadata")
        return WaitingEvents(int(np.searchsorted(clock_ms, from_ms)), "no_profile")

    def admission_from_ms(self, model: str) -> int | None:
        """From when on its first events take a place, by the append clock; ``None``: never here."""
        if self._is_unknown(model):
            return 0
        if not self._belongs(model):
            return None
        return (
            0
            if self.partition in self.partitions_before(model)
            else self.since_ms + REFERENCE_TIMEOUT_MS
        )

    def rows_possibly_elsewhere(self, model: str, label_ms: Ints, horizon_ms: int) -> Ints:
        """Which labels (n,), by append time, may be of a prediction in another partition.

        Those of a model that has moved, while its labels may be of predictions from before; and all
        of one that does not belong here.
        """
        if self._is_unknown(model):
            return np.zeros(0, dtype=np.int64)
        if not self._belongs(model):
            return np.arange(len(label_ms), dtype=np.int64)
        recent = self.moved(model) & (label_ms < self.since_ms + horizon_ms)
        return np.flatnonzero(recent)

    def pending_changes(self) -> dict[str, Any]:
        """All of it as plain data, if it changed since `mark_committed`."""
        if not self._has_changes or self.latest is None:
            return {}
        return {"topology": [msgspec.to_builtins(self.latest), self.since_offset, self.since_ms]}

    def mark_committed(self) -> None:
        """What `pending_changes` gave is durable."""
        self._has_changes = False

    def restore(self, data: Any) -> None:
        """Continue from what `pending_changes` gave.  States of before had nothing.

        Raises:
            ValueError: it does not fit.
        """
        topology, self.since_offset, self.since_ms = msgspec.convert(data, tuple[Any, int, int])
        self.latest = msgspec.convert(topology, Topology)


@lru_cache(maxsize=4_096)
def _partitions(model: str, shards: int, n_partitions: int) -> tuple[int, ...]:
    """Of all shards, and of the model's own key, which servers of before may write under."""
    whole = partitions_of_model(model, 1, n_partitions)
    return tuple(sorted({*whole, *partitions_of_model(model, shards, n_partitions)}))
