"""Collects the labelled events of one model, and scores them in blocks."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from typing import Final, NamedTuple

from producer.events import InferenceEvent, Label
from trainer.dataset.label_join import JoinedEvent, LabelJoin, LabelSampler
from trainer.jobs.comparisons import Position
from trainer.service.scored_events import ScoredEvents
from trainer.service.version_scorer import VersionScorer

MAX_HELD_EVENTS: Final = 50_000
"""Events of a model that wait for their label, over all of its partitions."""
MAX_SCORED_EVENTS: Final = 2_000
"""Labelled events that are scored at once."""
MAX_WAITING_EVENTS: Final = 10_000
"""While so many wait for a partition that is behind, the others must not be read."""


class _Waiting(NamedTuple):
    """A labelled event that is not counted yet; ``clock_ms`` is the append clock at its label."""

    clock_ms: int
    partition: int
    joined: JoinedEvent
    is_sampled: bool


class _Partition:
    """The join of one partition, and its positions."""

    def __init__(self, position: Position | None, start: int, max_events: int, rate: int) -> None:
        self.join, self.sampler = LabelJoin(max_events), LabelSampler(rate)
        self.recorded = position
        self.counted_from = start if position is None else position.next_offset
        self.next_offset = start if position is None else position.reread_offset
        self.clock_ms = 0


class LabelledEvents:
    """The labelled events of one model that are not counted yet.

    ``starts`` are the offsets from which partitions without a position are read.  Without
    ``is_scored`` events are counted only.  Records must be added in the order of each partition,
    from `read_from` on.  Labels below the recorded position are joined and not counted: they were
    counted before.

    Labelled events of several partitions are counted in the order of their append clocks, because
    after a downtime the partitions are not read evenly.
    """

    def __init__(
        self,
        model: str,
        scorer: VersionScorer,
        *,
        positions: Mapping[int, Position],
        starts: Mapping[int, int],
        block_events: int,
        max_events_per_s: int,
        is_scored: bool = True,
    ) -> None:
        self.model, self._scorer, self._block = model, scorer, block_events
        self._is_scored = is_scored
        self._partitions = {
            p: _Partition(
                positions.get(p), start, max(1, MAX_HELD_EVENTS // len(starts)), max_events_per_s
            )
            for p, start in starts.items()
        }
        self._waiting: list[_Waiting] = []
        self._newest_ms = 0

    def read_from(self) -> dict[int, int]:
        """Return the offset from which each partition is read."""
        return {p: held.next_offset for p, held in self._partitions.items()}

    @property
    def n_waiting(self) -> int:
        """Labelled events that are not counted yet."""
        return len(self._waiting)

    @property
    def n_unlabelled(self) -> int:
        """The number of events dropped before their label arrived."""
        return sum(held.join.n_unlabelled for held in self._partitions.values())

    @property
    def partitions_ahead(self) -> set[int]:
        """The partitions to pause until the others catch up: too many events wait."""
        if len(self._waiting) <= MAX_WAITING_EVENTS:
            return set()
        first_ms = min(held.clock_ms for held in self._partitions.values())
        return {p for p, held in self._partitions.items() if held.clock_ms > first_ms}

    def skip(self, partition: int, offset: int, append_ms: int) -> None:
        """Advance past a record that is no event of the model."""
        held = self._partitions.get(partition)
        if held is not None:
            held.next_offset = max(held.next_offset, offset + 1)
            held.clock_ms = max(held.clock_ms, append_ms)

    def add(
        self,
        partition: int,
        offset: int,
        append_ms: int,
        record: InferenceEvent | Label,
        *,
        row: int = 0,
    ) -> None:
        """Take the next record of a partition, or the next ``row`` of a batch."""
        held = self._partitions.get(partition)
        if held is None or offset < held.next_offset - (row > 0):
            return
        self.skip(partition, offset, append_ms)
        joined = held.join.add(offset, record)
        if joined is None:
            return
        is_sampled = held.sampler.keeps(joined.event.id, append_ms)
        if joined.offset >= held.counted_from:
            self._waiting.append(_Waiting(held.clock_ms, partition, joined, is_sampled))

    def scored(self, at_end: Container[int] = ()) -> ScoredEvents | None:
        """Score the waiting events in whole blocks; ``None`` if nothing moved.

        Partitions ``at_end`` have no more records now: the others do not wait for them.  Incomplete
        blocks wait, also across a restart: the positions stay before their labels.
        """
        taken = self._take(at_end)
        sampled = [one.joined for one in taken if one.is_sampled]
        losses = self._scorer.score(sampled) if sampled and self._is_scored else {}
        before, after = self._moved()
        if not after:
            return None
        newest = self._scorer.newest
        fresh_ms = None if newest is None else newest.trained_until_ms
        self._newest_ms = max([self._newest_ms, *(one.joined.event.time_ms for one in taken)])
        return ScoredEvents(
            model=self.model,
            before=before,
            after=after,
            n_labelled=len(taken),
            newest_ms=self._newest_ms,
            times_ms=[one.event.time_ms for one in sampled] if losses else [],
            versions=[one.event.version for one in sampled] if losses else [],
            losses={name: values.tolist() for name, values in losses.items()},
            scale=self._scorer.scale,
            sampled_share=min(held.sampler.share for held in self._partitions.values()),
            newest_version="" if newest is None else newest.version,
            newest_rows=None if newest is None else newest.trained_rows,
            n_fresh=sum(fresh_ms is not None and o.joined.event.time_ms > fresh_ms for o in taken),
        )

    def _take(self, at_end: Container[int]) -> list[_Waiting]:
        """Remove and return the waiting events up to the end of the last whole block."""
        reading = (held.clock_ms for p, held in self._partitions.items() if p not in at_end)
        until_ms = min(reading, default=math.inf)
        if len(self._partitions) > 1:
            self._waiting.sort(key=lambda one: (one.clock_ms, one.partition, one.joined.offset))
        n_sampled = end = 0
        for i, one in enumerate(self._waiting):
            if one.clock_ms > until_ms:
                break
            n_sampled += one.is_sampled
            if n_sampled % self._block == 0:
                end = i + 1
            if n_sampled >= MAX_SCORED_EVENTS:
                break
        taken, self._waiting = self._waiting[:end], self._waiting[end:]
        return taken

    def _moved(self) -> tuple[list[Position], list[Position]]:
        """Return the positions that moved since the last call, before and now."""
        first_waiting: dict[int, int] = {}
        reread = {p: held.join.oldest_offset for p, held in self._partitions.items()}
        for _, partition, joined, _ in self._waiting:
            first_waiting.setdefault(partition, joined.offset)
            oldest = reread[partition]
            reread[partition] = (
                joined.event_offset if oldest is None else min(oldest, joined.event_offset)
            )
        before, after = [], []
        for p, held in self._partitions.items():
            now = first_waiting.get(p, held.next_offset)
            oldest = reread[p]
            if held.recorded is not None and now <= held.recorded.next_offset:
                continue
            position = Position(
                partition=p, next_offset=now, reread_offset=now if oldest is None else oldest
            )
            before += [] if held.recorded is None else [held.recorded]
            after.append(position)
            held.recorded = position
        return before, after
