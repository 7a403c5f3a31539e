"""Offsets and event times of the events of one model, all versions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from stream_monitor.ingest.batch import EventBatch, Ints


class EventTimes(NamedTuple):
    """Offsets and event times of the events of one model, (n,) each, in order of the offsets."""

    offsets: Ints
    times_ms: Ints

    @classmethod
    def of(cls, model: str, batches: Sequence[EventBatch]) -> EventTimes:
        """The events of one model, all versions."""
        mine = [batch for batch in batches if batch.model == model]
        if not mine:
            return NO_EVENTS
        offsets = np.concatenate([batch.offsets for batch in mine])
        in_order = np.argsort(offsets)
        times_ms = np.concatenate([batch.times_ms for batch in mine])
        return cls(offsets[in_order], times_ms[in_order])

    def first(self, after: int, upto: int, until_ms: int) -> tuple[int, int] | None:
        """Return the first event of offsets (after, upto] at ``until_ms`` or later."""
        start, end = np.searchsorted(self.offsets, (after, upto), "right").tolist()
        late = np.flatnonzero(self.times_ms[start:end] >= until_ms)
        if not len(late):
            return None
        i = start + int(late[0])
        return int(self.offsets[i]), int(self.times_ms[i])


NO_EVENTS: Final = EventTimes(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
