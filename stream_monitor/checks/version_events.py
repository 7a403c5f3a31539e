"""The input of a version's checks: events as columns, compared with the reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias, cast

import numpy as np

from producer.events import Prediction
from stream_monitor.checks.error_estimate import ErrorEstimate
from stream_monitor.episodes.finding import EventPosition
from stream_monitor.ingest.batch import EventBatch, Ints
from stream_monitor.reference.transform import Transformed


class BatchPredictions(NamedTuple):
    """m predictions with offsets and event times; ``rows`` None: every event has a prediction."""

    predictions: Sequence[Prediction]
    offsets: Ints
    times_ms: Ints
    rows: Ints | None

    @classmethod
    def of(cls, batch: EventBatch) -> BatchPredictions:
        """Return the predictions of a batch."""
        rows = batch.rows_with_prediction()
        if rows is None:
            every = cast("Sequence[Prediction]", batch.predictions)
            return cls(every, batch.offsets, batch.times_ms, None)
        some = [cast("Prediction", batch.predictions[i]) for i in rows.tolist()]
        return cls(some, batch.offsets[rows], batch.times_ms[rows], rows)

    @property
    def has_missing(self) -> bool:
        """Whether an event of the batch has no prediction."""
        return self.rows is not None

    def losses(
        self, estimate: ErrorEstimate, scored: Mapping[str, Transformed], n_events: int
    ) -> Ints:
        """Return the expected loss of each event, (n,), in fixed point; -1 where it is unknown."""
        known = estimate.losses_of(scored[estimate.key])
        if self.rows is None:
            return known
        losses = np.full(n_events, -1, dtype=np.int64)
        losses[self.rows] = known
        return losses


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
