"""The predictions of a batch, without the events that have none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import numpy as np

from producer.events import Prediction
from stream_monitor.checks.error_estimate import ErrorEstimate
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
