"""The partitions that a worker owns, with their state and uncommitted changes."""

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
    """A partition that this worker owns under its fencing token.

    ``position`` is the offset at which the next batch must start, ``committed`` the stored offset
    (``None``: none yet).  ``fetch_generation`` changes with every seek, so that a batch that was
    fetched before the seek is recognised.  Below ``single_batch_until`` batches are decompressed
    one at a time, below ``single_record_until`` records are processed one at a time.
    ``last_attempt`` is the attempt marker of former owners, ``attempt_marker`` that of a batch this
    worker is decompressing.  ``chunked_fields`` are stored in chunks.  Times are monotonic seconds.
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
        """Mark the partition as no longer owned: no task may write it any more."""
        self._lost = True

    def is_lost(self) -> bool:
        """Whether the worker lost the partition; check it again after every await."""
        return self._lost

    def advance(self, upto: int, now_s: float) -> None:
        """Record that the state contains everything below ``upto``."""
        self.position = upto
        if self.uncommitted_since_s is None:
            self.uncommitted_since_s = now_s

    def mark_committed(self, upto: int) -> None:
        """Record that the store has everything below ``upto``."""
        self.committed = upto
        self.uncommitted_since_s = None
        self.urgent = False
        self.outbox = {}
        self.dead_letter_acks = []


class OwnedPartitions:
    """All partitions that this worker owns, by number."""

    def __init__(self) -> None:
        self._owned: dict[int, OwnedPartition] = {}

    def __iter__(self) -> Iterator[OwnedPartition]:
        return iter(tuple(self._owned.values()))

    def __len__(self) -> int:
        return len(self._owned)

    def get(self, partition: int) -> OwnedPartition | None:
        """The partition, if this worker owns it."""
        return self._owned.get(partition)

    def add(self, owned: OwnedPartition) -> None:
        """Add a partition that was acquired."""
        self._owned[owned.partition] = owned

    def drop(self, owned: OwnedPartition) -> None:
        """Remove a partition and mark it as lost."""
        owned.mark_lost()
        if self._owned.get(owned.partition) is owned:
            del self._owned[owned.partition]

    def current(self, batch: RecordBatch) -> OwnedPartition | None:
        """The partition of a batch, unless it was fetched before the last seek or acquisition."""
        owned = self._owned.get(batch.partition)
        return (
            owned
            if owned is not None and owned.fetch_generation == batch.fetch_generation
            else None
        )

    @property
    def last_commits_s(self) -> float:
        """The total duration of the last commits of all partitions."""
        return sum(owned.last_commit_s for owned in self._owned.values())
