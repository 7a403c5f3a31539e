"""Collects events that may share one record, until their batch is due."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

import msgspec

from producer.arrow_batch import PredictionShape, prediction_shape
from producer.events import InferenceEvent

MAX_GROUPS: Final = 64
"""Groups that are open at the same time; the oldest one is sent before another one is opened."""
_EVENT_BYTES: Final = 64
_CELL_BYTES: Final = 8

GroupKey: TypeAlias = tuple[str, str, bool, PredictionShape]
"""Key of the record, version, shadow, and shape of the prediction."""


class BatchSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of a batch: the wait of its first event (``linger_s``), its rows and its bytes.

    Raises:
        ValueError: a limit is not positive.
    """

    linger_s: float
    rows: int
    size_bytes: int

    def __post_init__(self) -> None:
        if self.linger_s < 0 or self.rows < 1 or self.size_bytes < 1:
            raise ValueError("batch_linger_ms, batch_rows and batch_bytes must be positive")


class EventGroup(NamedTuple):
    """Events for one batch, and the key of its record."""

    key: str
    events: list[InferenceEvent]


@dataclass(slots=True)
class _Open:
    key: str
    due_s: float
    events: list[InferenceEvent] = field(default_factory=list)
    size_bytes: int = 0


class BatchBuffer:
    """The events of one sender that wait for their batch.  Times come from a monotonic clock."""

    def __init__(self, settings: BatchSettings) -> None:
        self._settings = settings
        self._open: dict[GroupKey, _Open] = {}
        self.n_events = 0

    def add(self, key: str, event: InferenceEvent, now_s: float) -> EventGroup | None:
        """Add an event; return the batch that is due now, if there is one.

        Raises:
            ValueError: the prediction of the event does not fit columns.
        """
        shape = prediction_shape(event.prediction)
        if shape is None:
            raise ValueError("the prediction does not fit columns")
        of = key, event.version, event.shadow, shape
        full = None
        if of not in self._open and len(self._open) >= MAX_GROUPS:
            full = self._close(next(iter(self._open)))
        group = self._open.setdefault(of, _Open(key, now_s + self._settings.linger_s))
        group.events.append(event)
        group.size_bytes += _size_bytes(event)
        self.n_events += 1
        if (
            len(group.events) >= self._settings.rows
            or group.size_bytes >= self._settings.size_bytes
        ):
            return self._close(of) if full is None else full
        return full

    def due(self, now_s: float) -> Iterator[EventGroup]:
        """Yield the groups that are due at ``now_s``; an infinite time yields all groups."""
        for of in [of for of, group in self._open.items() if group.due_s <= now_s]:
            yield self._close(of)

    def _close(self, of: GroupKey) -> EventGroup:
        group = self._open.pop(of)
        self.n_events -= len(group.events)
        return EventGroup(group.key, group.events)


def _size_bytes(event: InferenceEvent) -> int:
    """About the bytes that an event takes in a batch."""
    texts = sum(len(value) for value in event.features.values() if type(value) is str)
    return _EVENT_BYTES + _CELL_BYTES * len(event.features) + texts
