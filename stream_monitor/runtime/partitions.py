"""The partitions this worker owns, and what of each is not committed yet."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field

from stream_monitor.ingest.records import RecordBatch
from stream_monitor.runtime.dead_letter_limit import RecentRejections
from stream_monitor.state.chunked_commit import ChunkedFields
from stream_monitor.state.partition_state import PartitionState
from stream_monitor.state.store import AttemptMarker


@dataclass(slots=True)
class OwnedPartition:
    """A partition under our epoch.

    ``position`` is the offset the next batch has to start at, ``committed`` the one the store
    holds (``None``: none yet).  ``fetch_generation`` marks batches of the present reading: it
    changes with
    every seek, so that what was fetched before is told apart.  Below ``single_batch_until``
    batches are
    read and unpacked one at a time, below ``single_record_until`` records folded in one at a time.
    ``tried`` is what former owners tried so last, ``unpacking`` the word that was left of a batch
    that is being unpacked.  ``chunked_fields`` lies in bundles.
    Times are monotonic seconds.
    """

    topic: str
    partition: int
    key: str
    fencing_token: str
    fetch_generation: str
    partition_state: PartitionState
    position: int
    committed: int | None
    last_record_s: float
    single_record_until: int = 0
    single_batch_until: int = 0
    last_attempt: AttemptMarker | None = None
    attempt_marker: AttemptMarker | None = None
    chunked_fields: ChunkedFields = field(default_factory=ChunkedFields)
    rejections: RecentRejections = field(default_factory=RecentRejections)
    uncommitted_since_s: float | None = None
    urgent: bool = False
    last_commit_s: float = 0.0
    outbox: dict[str, bytes] = field(default_factory=dict)
    dead_letter_acks: list[asyncio.Future[None]] = field(default_factory=list)
    _lost: bool = False

    def mark_lost(self) -> None:
        """Not ours any more: whoever still works on it must not write."""
        self._lost = True

    def is_lost(self) -> bool:
        """Whether `lose` was called, perhaps while somebody waited."""
        return self._lost

    def advance(self, upto: int, now_s: float) -> None:
        """Everything below ``upto`` is in the fold."""
        self.position = upto
        if self.uncommitted_since_s is None:
            self.uncommitted_since_s = now_s

    def mark_committed(self, upto: int) -> None:
        """Everything below ``upto`` is durable."""
        self.committed = upto
        self.uncommitted_since_s = None
        self.urgent = False
        self.outbox = {}
        self.dead_letter_acks = []


class OwnedPartitions:
    """All partitions this worker owns, by number."""

    def __init__(self) -> None:
        self._owned: dict[int, OwnedPartition] = {}

    def __iter__(self) -> Iterator[OwnedPartition]:
        return iter(tuple(self._owned.values()))

    def __len__(self) -> int:
        return len(self._owned)

    def get(self, partition: int) -> OwnedPartition | None:
        """The partition, if it is ours."""
        return self._owned.get(partition)

    def add(self, owned: OwnedPartition) -> None:
        """The partition is ours from now on."""
        self._owned[owned.partition] = owned

    def drop(self, owned: OwnedPartition) -> None:
        """The partition is ours no more."""
        owned.mark_lost()
        if self._owned.get(owned.partition) is owned:
            del self._owned[owned.partition]

    def current(self, batch: RecordBatch) -> OwnedPartition | None:
        """The partition a batch belongs to, unless it was fetched under another owner or seek."""
        owned = self._owned.get(batch.partition)
        return (
            owned
            if owned is not None and owned.fetch_generation == batch.fetch_generation
            else None
        )

    @property
    def last_commits_s(self) -> float:
        """What committing every partition once took."""
        return sum(owned.last_commit_s for owned in self._owned.values())
