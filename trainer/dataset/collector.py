"""Join labels to events in bounded memory.

The hash of an id alone decides whether it is kept.  When more ids are held than allowed, the
threshold of the hash is halved and the ids above it are dropped: a deterministic, unbiased sample
that does not depend on how partitions were interleaved.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from producer.events import InferenceEvent, Label, Value
from stream_monitor.reference.event_rate import estimate_events_per_week
from trainer.policy.excluded_ranges import ExcludedRange, is_excluded

MAX_HELD_IDS_PER_ROW: Final = 2
"""Ids held for each allowed row; some events wait for labels, some labels for events."""
_HASH_RANGE: Final = 1 << 64


def hash_rank(event_id: str) -> int:
    """Hash an id to [0, 2**64); not with the hash of shards, which would bias the sample."""
    return int.from_bytes(hashlib.blake2b(event_id.encode(), digest_size=8).digest(), "big")


class LabelledEvent(NamedTuple):
    """An inference event and its label, and the producers (``ce_source``) of the two."""

    event: InferenceEvent
    label: Value
    source: str = ""
    label_source: str = ""


class CollectedEvents(NamedTuple):
    """Rows in order of time, then id, and the counts of a `TrainingSet`.

    ``events_per_week`` counts all events, labelled or not; ``None`` if all have the same time.
    ``unlabelled`` counts events of the sample without a label.
    """

    rows: list[LabelledEvent]
    events: int
    duplicates: int
    excluded: int
    sampled_share: float
    events_per_week: float | None = None
    unlabelled: int = 0


class Collector:
    """Collects the labelled events of one model.

    The first event and the first label of an id are used; repeats are counted.  At most
    ``max_rows`` labelled events are kept.  ``since_ms`` is the event time from which
    `labelled_since` counts.
    """

    def __init__(self, model: str, *, max_rows: int, since_ms: int | None = None) -> None:
        self.model = model
        self._max_rows, self._max_held = max_rows, MAX_HELD_IDS_PER_ROW * max_rows
        self._since_ms = since_ms
        self._halvings = 0
        self._events: dict[str, InferenceEvent] = {}
        self._labels: dict[str, Value] = {}
        self._sources: tuple[dict[str, str], dict[str, str]] = ({}, {})  # of events, of labels
        self._n_labelled = 0
        self._labelled_since_onset: list[InferenceEvent] = []
        self.events = 0
        self.duplicates = 0
        self.newest_ms: int | None = None

    def add(self, event: InferenceEvent | Label, source: str = "") -> None:
        """Add one event or label of a producer; shadow predictions, other models are ignored."""
        if event.model != self.model or (isinstance(event, InferenceEvent) and event.shadow):
            return
        if self.newest_ms is None or event.time_ms > self.newest_ms:
            self.newest_ms = event.time_ms
        is_event = isinstance(event, InferenceEvent)
        if hash_rank(event.id) >= _HASH_RANGE >> self._halvings:
            self.events += is_event  # a repeat of a dropped id counts as an event
            return
        if isinstance(event, InferenceEvent):
            if event.id in self._events:
                self.duplicates += 1
                return
            self.events += 1
            self._events[event.id] = event
            self._sources[0][event.id] = sys.intern(source)
        elif event.id in self._labels:
            self.duplicates += 1
            return
        else:
            self._labels[event.id] = event.label
            self._sources[1][event.id] = sys.intern(source)
        if event.id in self._events and event.id in self._labels:
            self._n_labelled += 1
            joined = self._events[event.id]
            if self._since_ms is not None and joined.time_ms >= self._since_ms:
                self._labelled_since_onset.append(joined)
        if self._n_labelled > self._max_rows or self._held() > self._max_held:
            self._halve()

    def labelled_since(self, excluded_ranges: Sequence[ExcludedRange] = ()) -> int:
        """Count labelled events from ``since_ms`` on, outside of excluded time ranges.

        Exact until the first halving of the sample; an estimate of all events after it.
        """
        fresh = self._labelled_since_onset
        kept = (
            sum(not _is_excluded(event, excluded_ranges) for event in fresh)
            if excluded_ranges
            else len(fresh)
        )
        return kept << self._halvings

    def collected(self, excluded_ranges: Sequence[ExcludedRange] = ()) -> CollectedEvents:
        """Return the rows outside of excluded time ranges, in order of time, then id."""
        events = [event for key, event in self._events.items() if key in self._labels]
        clean = [event for event in events if not _is_excluded(event, excluded_ranges)]
        clean.sort(key=lambda event: (event.time_ms, event.id))
        held_ms = np.array([event.time_ms for event in self._events.values()], dtype=np.int64)
        of_sample = estimate_events_per_week(held_ms)
        share = 2.0**-self._halvings
        return CollectedEvents(
            [
                LabelledEvent(
                    event, self._labels[event.id], *(of[event.id] for of in self._sources)
                )
                for event in clean
            ],
            self.events,
            self.duplicates,
            len(events) - len(clean),
            share,
            None if of_sample is None else of_sample / share,
            len(self._events) - len(events),
        )

    def _held(self) -> int:
        return len(self._events) + len(self._labels) - self._n_labelled

    def _halve(self) -> None:
        while self._n_labelled > self._max_rows or self._held() > self._max_held:
            self._halvings += 1
            below = _HASH_RANGE >> self._halvings
            self._events = {k: v for k, v in self._events.items() if hash_rank(k) < below}
            self._labels = {k: v for k, v in self._labels.items() if hash_rank(k) < below}
            of_events, of_labels = self._sources
            self._sources = (
                {k: of_events[k] for k in self._events},
                {k: of_labels[k] for k in self._labels},
            )
            joined = [event for key, event in self._events.items() if key in self._labels]
            self._n_labelled = len(joined)
            since = self._since_ms
            fresh = [] if since is None else [e for e in joined if e.time_ms >= since]
            self._labelled_since_onset = fresh


def _is_excluded(event: InferenceEvent, excluded_ranges: Sequence[ExcludedRange]) -> bool:
    return is_excluded(event.time_ms, event.version, excluded_ranges, event.features)
