"""The interface between the runtime and the core: the state of one partition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

from producer.events import Topology
from stream_monitor.contracts import DeadLetter, DriftAlert
from stream_monitor.core.control_records import ControlOutcome
from stream_monitor.core.coverage import CoverageRow
from stream_monitor.core.reference_transfer import ReferenceTransfer
from stream_monitor.ingest.records import ConsumerRecord, RecordBatch
from stream_monitor.state.store import OUTBOX

STATE: Final = "s:"
"""Prefix of the fields that hold state."""
ALERT: Final = f"{OUTBOX}a:"
"""Prefix of outbox fields that hold an alert as JSON; the rest of the name is the alert's id."""
WINDOW: Final = f"{OUTBOX}w:"
"""Prefix of outbox fields that hold a closed window; the rest is its Redis key."""
PERFORMANCE: Final = f"{OUTBOX}p:"
"""Prefix of outbox fields that hold the performance of a window; the rest is its offset, a colon,
and its Redis key: later performance of the same window is another entry."""


class BatchResult(Protocol):
    """The results of one batch.

    ``outbox`` maps fields (`ALERT`, `WINDOW`, `PERFORMANCE`) to what is published after the commit.
    ``urgent`` asks for an immediate commit; the worker logs ``controls``.
    """

    @property
    def alerts(self) -> Sequence[DriftAlert]: ...  # noqa: D102 - see the class
    @property
    def dead_letters(self) -> Sequence[DeadLetter]: ...  # noqa: D102
    @property
    def outbox(self) -> Mapping[str, bytes]: ...  # noqa: D102
    @property
    def urgent(self) -> bool: ...  # noqa: D102
    @property
    def controls(self) -> Sequence[ControlOutcome]: ...  # noqa: D102


class PartitionState(Protocol):
    """The state of one partition: a pure function of its records below the next offset."""

    def observe(self, batch: RecordBatch) -> BatchResult:
        """Apply a batch.  After an exception the state is undefined and must be dropped."""
        ...

    def skip(self, record: ConsumerRecord) -> None:
        """Count a record that is not processed because it crashes the process."""
        ...

    def changes(self) -> Mapping[str, bytes]:
        """Fields that changed since the last commit; ``b""`` marks a dead field."""
        ...

    def mark_committed(self) -> None:
        """The fields that `changes` returned are committed."""
        ...

    def topology(self) -> Topology | None:
        """The placement of models that the records of this partition describe."""
        ...

    def reference_transfers(self, wanted: Topology) -> Iterable[ReferenceTransfer]:
        """The references of this partition that other partitions need under a placement."""
        ...

    def outcomes(self) -> Mapping[str, int]:
        """Number of records by outcome, since the first record of the partition."""
        ...

    def levels(self) -> Mapping[tuple[str, str], int]:
        """Drift of each (model@version, series): 0 none, 1 suspected, 2 an open episode."""
        ...

    def error_rates(self) -> Mapping[tuple[str, str], float]:
        """Error rate of each (model@version, kind), for example of kind ``estimated``."""
        ...

    def label_samples(self) -> Mapping[str, tuple[float, int]]:
        """By model: ratio of predictions that may wait for a label, and labels sampled out."""
        ...

    def coverage(self) -> Mapping[str, Sequence[CoverageRow]]:
        """By model: events of the last hour, watched or by the reason why they were not."""
        ...


class PartitionStateFactory(Protocol):
    """Makes the state of partitions: new, or restored from stored fields."""

    def new(self, topic: str, partition: int) -> PartitionState:
        """The state before the first record."""
        ...

    def restore(self, topic: str, partition: int, fields: Mapping[str, bytes]) -> PartitionState:
        """The state that was committed.

        Raises:
            CorruptState: the fields cannot be decoded.
        """
        ...
