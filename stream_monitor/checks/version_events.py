"""The input of a version's checks: events as columns, compared with the reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

from stream_monitor.checks.batch_predictions import BatchPredictions
from stream_monitor.episodes.finding import EventPosition
from stream_monitor.ingest.batch import EventBatch, Ints
from stream_monitor.reference.transform import Transformed

Onset: TypeAlias = Callable[[int, int], tuple[int, int]]
"""(position in the batch, events back) -> (offset, time_ms) of the estimated onset."""


class SegmentEvents(NamedTuple):
    """The events of one segment: their ``rows`` in the batch, offsets and event times, (m,)."""

    rows: Ints
    offsets: Ints
    times_ms: Ints
    onset: Onset


class VersionEvents(NamedTuple):
    """Consecutive events (n,) of one version, in offset order.

    ``features`` are the columns of the reference's features, by name, and ``scores`` those of the
    prediction series, as `Transform` looks them up.  ``onset`` and ``prediction_onset`` find the
    estimated onset of a change from a position among the events, or among the predictions.
    ``segments`` are the declared segments with events, by name.
    """

    batch: EventBatch
    features: Mapping[str, Transformed]
    onset: Onset
    predictions: BatchPredictions
    scores: Mapping[str, Transformed]
    prediction_onset: Onset
    segments: Mapping[str, SegmentEvents]

    def position(self, row: int) -> EventPosition:
        """Offset and event time of the event in a row of the batch."""
        return EventPosition(int(self.batch.offsets[row]), int(self.batch.times_ms[row]))
