"""What the runtime needs to know of the core: a pure fold of one partition."""

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
"""Prefix of outbox fields that hold an alert as JSON; the rest of the name is its id."""
WINDOW: Final = f"{OUTBOX}w:"
"""Prefix of outbox fields that hold a closed window; the rest is the Redis key to set."""
PERFORMANCE: Final = f"{OUTBOX}p:"
"""Prefix of outbox fields that hold the figures of a window; the rest is their offset, a colon, and
the Redis key to set: later figures of the same window are another entry."""


class BatchResult(Protocol):
    """What a batch led to.

    ``outbox`` maps fields (`ALERT`, `WINDOW`, `PERFORMANCE`) to what leaves once it is committed.
    ``urgent`` asks for a commit at once; ``controls`` are for the worker's log.
    """

    @property
    def alerts(self) -> Sequence[DriftAlert]: ...  # noqa: D102 - the class says it
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
        """Fold a batch in.  An exception leaves the state undefined: throw the fold away."""
        ...

    def skip(self, record: ConsumerRecord) -> None:
        """Count a record that nobody may fold in, for it ends the process that does."""
        ...

    def changes(self) -> Mapping[str, bytes]:
        """Fields that differ from what was last committed; ``b""`` means the field is dead."""
        ...

    def mark_committed(self) -> None:
        """What `changes` answered is durable now."""
        ...

    def topology(self) -> Topology | None:
        """The placement of models as the records of this partition say."""
        ...

    def reference_transfers(self, wanted: Topology) -> Iterable[ReferenceTransfer]:
        """The references held here that other partitions need, where models are so placed."""
        ...

    def outcomes(self) -> Mapping[str, int]:
        """Records by how they were counted, since the beginning of the log (for metrics)."""
        ...

    def levels(self) -> Mapping[tuple[str, str], int]:
        """Drift of a (model, series): 0 none, 1 suspected, 2 an open episode (for metrics)."""
        ...

    def error_rates(self) -> Mapping[tuple[str, str], float]:
        """Error rates of a model by what they are: estimated, realised and so on (for metrics)."""
        ...

    def label_samples(self) -> Mapping[str, tuple[float, int]]:
        """By model: share of predictions that may wait, labels sampled out (for metrics)."""
        ...

    def coverage(self) -> Mapping[str, Sequence[CoverageRow]]:
        """By model: what was watched in the last hour, and why not the rest (for metrics)."""
        ...


class PartitionStateFactory(Protocol):
    """Makes folds: fresh ones, and ones that continue from stored fields."""

    def new(self, topic: str, partition: int) -> PartitionState:
        """The state before the first record."""
        ...

    def restore(self, topic: str, partition: int, fields: Mapping[str, bytes]) -> PartitionState:
        """The state that was committed.

        Raises:
            CorruptState: the fields do not read back.
        """
        ...
