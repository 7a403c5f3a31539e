"""Joining labels to events in bounded memory, whatever the log holds.

Ids are kept or not by their hash alone.  When more are held than allowed, the threshold is halved
and those above it are let go: a deterministic, unbiased sample, the same however the partitions
were interleaved.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from producer.events import InferenceEvent, Label, Value
from stream_monitor.reference.event_rate import estimate_events_per_week
from trainer.policy.excluded_ranges import ExcludedRange, is_excluded

MAX_HELD_IDS_PER_ROW: Final = 2
"""Ids held for each row allowed: events still wait for labels, and labels for events."""
_HASH_RANGE: Final = 1 << 64


def hash_rank(event_id: str) -> int:
    """Where an id lies in [0, 2**64).  Not the shards' hash: shards would bias the sample."""
    return int.from_bytes(hashlib.blake2b(event_id.encode(), digest_size=8).digest(), "big")


class LabelledEvent(NamedTuple):
    """A labelled event."""

    event: InferenceEvent
    label: Value


class CollectedEvents(NamedTuple):
    """What a `Collector` gives: rows by time, then id, and the counts of `TrainingSet`.

    ``events_per_week`` are those of all events that were read, labelled or not; ``None`` where
    they are of one moment.
    """

    rows: list[LabelledEvent]
    events: int
    duplicates: int
    excluded: int
    sampled_share: float
    events_per_week: float | None = None


class Collector:
    """The labelled events of ``model`` among the records that are added.

    The first event and the first label of an id count; repeats are counted and left out.  Labels
    that carry another model's name are another model's.
    """

    def __init__(self, model: str, *, max_rows: int, since_ms: int | None = None) -> None:
        self.model = model
        self._max_rows, self._max_held = max_rows, MAX_HELD_IDS_PER_ROW * max_rows
        self._since_ms = since_ms
        self._halvings = 0
        self._events: dict[str, InferenceEvent] = {}
        self._labels: dict[str, Value] = {}
        self._n_labelled = 0
        self._labelled_since_onset: list[tuple[int, str]] = []  # times and versions
        self.events = 0
        self.duplicates = 0
        self.newest_ms: int | None = None

    def add(self, event: InferenceEvent | Label) -> None:
        """One record of the log."""
        if event.model != self.model:
            return
        if self.newest_ms is None or event.time_ms > self.newest_ms:
            self.newest_ms = event.time_ms
        is_event = isinstance(event, InferenceEvent)
        if hash_rank(event.id) >= _HASH_RANGE >> self._halvings:
            self.events += is_event  # a repeat of what was let go is counted as an event
            return
        if isinstance(event, InferenceEvent):
            if event.id in self._events:
                self.duplicates += 1
                return
            self.events += 1
            self._events[event.id] = event
        elif event.id in self._labels:
            self.duplicates += 1
            return
        else:
            self._labels[event.id] = event.label
        if event.id in self._events and event.id in self._labels:
            self._n_labelled += 1
            joined = self._events[event.id]
            if self._since_ms is not None and joined.time_ms >= self._since_ms:
                self._labelled_since_onset.append((joined.time_ms, joined.version))
        if self._n_labelled > self._max_rows or self._held() > self._max_held:
            self._halve()

    def labelled_since(self, excluded_ranges: Sequence[ExcludedRange] = ()) -> int:
        """Labelled events since the onset that lie in no broken span, those sampled away included.

        Exact until the first halving, an estimate after it.
        """
        fresh = self._labelled_since_onset
        kept = (
            sum(not is_excluded(*one, excluded_ranges) for one in fresh)
            if excluded_ranges
            else len(fresh)
        )
        return kept << self._halvings

    def collected(self, excluded_ranges: Sequence[ExcludedRange] = ()) -> CollectedEvents:
        """The rows outside of all broken spans, in order of time, then id."""
        events = [event for key, event in self._events.items() if key in self._labels]
        clean = [
            event
            for event in events
            if not is_excluded(event.time_ms, event.version, excluded_ranges)
        ]
        clean.sort(key=lambda event: (event.time_ms, event.id))
        held_ms = np.array([event.time_ms for event in self._events.values()], dtype=np.int64)
        of_sample = estimate_events_per_week(held_ms)
        share = 2.0**-self._halvings
        return CollectedEvents(
            [LabelledEvent(event, self._labels[event.id]) for event in clean],
            self.events,
            self.duplicates,
            len(events) - len(clean),
            share,
            None if of_sample is None else of_sample / share,
        )

    def _held(self) -> int:
        return len(self._events) + len(self._labels) - self._n_labelled

    def _halve(self) -> None:
        while self._n_labelled > self._max_rows or self._held() > self._max_held:
            self._halvings += 1
            below = _HASH_RANGE >> self._halvings
            self._events = {k: v for k, v in self._events.items() if hash_rank(k) < below}
            self._labels = {k: v for k, v in self._labels.items() if hash_rank(k) < below}
            joined = [event for key, event in self._events.items() if key in self._labels]
            self._n_labelled = len(joined)
            since = self._since_ms
            fresh = [] if since is None else [e for e in joined if e.time_ms >= since]
            self._labelled_since_onset = [(event.time_ms, event.version) for event in fresh]
