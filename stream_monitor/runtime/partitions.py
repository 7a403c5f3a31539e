"""The partitions this worker owns, and what of each is not committed yet."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field

from stream_monitor.ingest.records import RecordBatch
from stream_monitor.runtime.dead_letter_limit import RecentRejections
from stream_monitor.state.bundles import Carried
from stream_monitor.state.fold import PartitionFold
from stream_monitor.state.store import Tried


@dataclass(slots=True)
class Owned:
    """A partition under our epoch.

    ``position`` is the offset the next batch has to start at, ``committed`` the one the store
    holds (``None``: none yet).  ``tag`` marks batches of the present reading: it changes with
    every seek, so that what was fetched before is told apart.  Below ``packed_until`` batches are
    read and unpacked one at a time, below ``careful_until`` records folded in one at a time.
    ``tried`` is what former owners tried so last, ``unpacking`` the word that was left of a batch
    that is being unpacked.  ``carried`` lies in bundles.
    Times are monotonic seconds.
    """

    topic: str
    partition: int
    key: str
    epoch: str
    tag: str
    fold: PartitionFold
    position: int
    committed: int | None
    last_record_s: float
    careful_until: int = 0
    packed_until: int = 0
    tried: Tried | None = None
    unpacking: Tried | None = None
    carried: Carried = field(default_factory=Carried)
    rejections: RecentRejections = field(default_factory=RecentRejections)
    dirty_since_s: float | None = None
    urgent: bool = False
    last_commit_s: float = 0.0
    outbox: dict[str, bytes] = field(default_factory=dict)
    letters: list[asyncio.Future[None]] = field(default_factory=list)
    _lost: bool = False

    def lose(self) -> None:
        """Not ours any more: whoever still works on it must not write."""
        self._lost = True

    def lost(self) -> bool:
        """Whether `lose` was called, perhaps while somebody waited."""
        return self._lost

    def advance(self, upto: int, now_s: float) -> None:
        """Everything below ``upto`` is in the fold."""
        self.position = upto
        if self.dirty_since_s is None:
            self.dirty_since_s = now_s

    def settle(self, upto: int) -> None:
        """Everything below ``upto`` is durable."""
        self.committed = upto
        self.dirty_since_s = None
        self.urgent = False
        self.outbox = {}
        self.letters = []


class Partitions:
    """All partitions this worker owns, by number."""

    def __init__(self) -> None:
        self._owned: dict[int, Owned] = {}

    def __iter__(self) -> Iterator[Owned]:
        return iter(tuple(self._owned.values()))

    def __len__(self) -> int:
        return len(self._owned)

    def get(self, partition: int) -> Owned | None:
        """The partition, if it is ours."""
        return self._owned.get(partition)

    def add(self, owned: Owned) -> None:
        """The partition is ours from now on."""
        self._owned[owned.partition] = owned

    def drop(self, owned: Owned) -> None:
        """The partition is ours no more."""
        owned.lose()
        if self._owned.get(owned.partition) is owned:
            del self._owned[owned.partition]

    def current(self, batch: RecordBatch) -> Owned | None:
        """The partition a batch belongs to, unless it was fetched under another owner or seek."""
        owned = self._owned.get(batch.partition)
        return owned if owned is not None and owned.tag == batch.epoch else None

    @property
    def last_commits_s(self) -> float:
        """What committing every partition once took."""
        return sum(owned.last_commit_s for owned in self._owned.values())
