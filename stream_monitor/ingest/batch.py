"""Events of one model version as columns: the form in which the core processes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TypeAlias

import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from producer.events import Prediction
from stream_monitor.ingest.table import Table

Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class EventBatch:
    """Inference events of one (model, version), in offset order, as columns of equal length n.

    An event's offset is its number in the partition (`stream_monitor.ingest.event_numbers`): the
    offset of its record, where no record before it holds several events.

    ``offsets``, ``times_ms`` (event time) and ``ids`` (64-bit hashes) have shape (n,).
    ``features`` are the values as they were sent; ``segments`` the attributes that events name in
    addition.  A prediction is ``UNSET`` where an event has none.
    """

    model: str
    version: str
    offsets: Ints
    times_ms: Ints
    ids: NDArray[np.uint64]
    predictions: Sequence[Prediction | UnsetType]
    features: Table
    segments: Table

    def __len__(self) -> int:
        return len(self.offsets)

    def __getitem__(self, part: slice) -> EventBatch:
        """The events of a slice, in the same order."""
        return EventBatch(
            self.model,
            self.version,
            self.offsets[part],
            self.times_ms[part],
            self.ids[part],
            self.predictions[part],
            self.features[part],
            self.segments[part],
        )

    def take(self, rows: Ints) -> EventBatch:
        """The events in these rows, in the order of the rows."""
        return EventBatch(
            self.model,
            self.version,
            self.offsets[rows],
            self.times_ms[rows],
            self.ids[rows],
            [self.predictions[i] for i in rows.tolist()],
            self.features.take(rows),
            self.segments.take(rows),
        )

    @classmethod
    def concatenated(cls, parts: Sequence[EventBatch]) -> EventBatch:
        """Events of one (model, version), one part after the other."""
        first = parts[0]
        if len(parts) == 1:
            return first
        return cls(
            first.model,
            first.version,
            np.concatenate([part.offsets for part in parts]),
            np.concatenate([part.times_ms for part in parts]),
            np.concatenate([part.ids for part in parts]),
            list(chain.from_iterable(part.predictions for part in parts)),
            Table.concatenated([part.features for part in parts]),
            Table.concatenated([part.segments for part in parts]),
        )

    def rows_with_prediction(self) -> Ints | None:
        """Rows of the events with a prediction, (m,); ``None``: all of them have one."""
        if UNSET not in self.predictions:
            return None
        return np.array([i for i, p in enumerate(self.predictions) if p is not UNSET], np.int64)


@dataclass(frozen=True, slots=True)
class EventRun:
    """Consecutive records of one event each, as columns.

    ``timestamps_ms`` are the append times of the n records, shape (n,).
    """

    events: EventBatch
    timestamps_ms: Ints

    def __len__(self) -> int:
        return len(self.timestamps_ms)

    def __getitem__(self, part: slice) -> EventRun:
        """The records of a slice, in the same order."""
        return EventRun(self.events[part], self.timestamps_ms[part])

    @property
    def model(self) -> str:
        """The model of all events."""
        return self.events.model

    @property
    def version(self) -> str:
        """The version of all events."""
        return self.events.version

    @property
    def shadow(self) -> bool:
        """Whether the predictions were not used: a run has no such events."""
        return False

    def numbered(self, extra: int) -> EventRun:
        """The run with ``extra`` added to its offsets."""
        offsets = self.events.offsets + extra
        return EventRun(replace(self.events, offsets=offsets), self.timestamps_ms)
