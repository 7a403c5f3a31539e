"""Joins labels with the newest events of one model in one partition, and samples them.

Memory is bounded.  The rate of the sampler is that of the append clock, so that the sample is a
function of the records.
"""

from __future__ import annotations

from itertools import chain
from typing import Final, NamedTuple

from producer.events import InferenceEvent, Label, Value
from trainer.dataset.collector import hash_rank


class JoinedEvent(NamedTuple):
    """An event and its label.

    ``offset`` is that of the later of the two records, ``event_offset`` that of the earlier one.
    """

    offset: int
    event_offset: int
    event: InferenceEvent
    label: Value


class LabelJoin:
    """Joins each event once with its first label; repeats of either change nothing.

    The newest ``max_events`` events are held, labelled ones without their features, and as many
    labels whose event has not come.  ``n_unlabelled`` counts events that were dropped before their
    label came.  The state is a function of the records of the partition from `oldest_offset` on.
    """

    def __init__(self, max_events: int) -> None:
        self._max_events = max_events
        self._events: dict[str, tuple[int, InferenceEvent | None]] = {}
        self._labels: dict[str, tuple[int, Value]] = {}
        self.n_unlabelled = 0

    def add(self, offset: int, record: InferenceEvent | Label) -> JoinedEvent | None:
        """Take the next record; return the labelled event that it completes.

        Shadow predictions are left out: the event with their id is the one that was served.

        >>> join = LabelJoin(10)
        >>> event = InferenceEvent(id="a", model="m", version="1", time_ms=0, features={})
        >>> join.add(5, event), join.oldest_offset
        (None, 5)
        >>> label = Label(id="a", model="m", label=1, time_ms=9)
        >>> join.add(7, label).offset, join.add(8, label)
        (7, None)
        """
        if isinstance(record, Label):
            return self._add_label(offset, record)
        return None if record.shadow else self._add_event(offset, record)

    @property
    def oldest_offset(self) -> int | None:
        """The offset of the oldest record that is held; ``None`` without any."""
        early = next(iter(self._labels.values()), None)
        offsets = [] if early is None else [early[0]]
        return min(chain(offsets, (offset for offset, _ in self._events.values())), default=None)

    def _add_event(self, offset: int, event: InferenceEvent) -> JoinedEvent | None:
        if event.id in self._events:
            return None
        early = self._labels.pop(event.id, None)
        # A restart must read the label too, or a repeat of it would count again.
        self._events[event.id] = (offset, event) if early is None else (early[0], None)
        if len(self._events) > self._max_events:
            _, dropped = self._events.pop(next(iter(self._events)))
            self.n_unlabelled += dropped is not None
        return None if early is None else JoinedEvent(offset, early[0], event, early[1])

    def _add_label(self, offset: int, label: Label) -> JoinedEvent | None:
        held = self._events.get(label.id)
        if held is None:
            self._labels.setdefault(label.id, (offset, label.label))
            if len(self._labels) > self._max_events:
                del self._labels[next(iter(self._labels))]
            return None
        event_offset, event = held
        if event is None:
            return None
        self._events[label.id] = (event_offset, None)
        return JoinedEvent(offset, event_offset, event, label.label)


BUCKET_MS: Final = 10_000
_HASH_RANGE: Final = 1 << 64


class LabelSampler:
    """Samples about ``max_per_s`` labelled events a second, at a ratio that is a power of 1/2.

    Within `BUCKET_MS` of the append clock the share is halved as often as the number of events
    doubles beyond the limit.
    """

    def __init__(self, max_per_s: int) -> None:
        self._limit = max_per_s * BUCKET_MS // 1_000
        self._bucket = -1
        self._n_events = 0
        self._halvings = 0

    @property
    def share(self) -> float:
        """The share of labelled events that is sampled now."""
        return 2.0**-self._halvings

    def keeps(self, event_id: str, append_ms: int) -> bool:
        """Count a labelled event; return whether it is in the sample.

        >>> sampler = LabelSampler(1)
        >>> sum(sampler.keeps(str(i), 0) for i in range(40)), sampler.share
        (18, 0.25)
        """
        bucket = append_ms // BUCKET_MS
        if bucket > self._bucket:
            self._bucket, self._n_events, self._halvings = bucket, 0, 0
        self._n_events += 1
        while self._n_events > self._limit << self._halvings:
            self._halvings += 1
        return hash_rank(event_id) < _HASH_RANGE >> self._halvings
