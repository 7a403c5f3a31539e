"""The newest predictions of a version, over the bins of its reference.  Pure.

Closed windows count features only, so predictions are taken from the newest events themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from driftline.dashboard.window_series import FeatureBucket, bucket_of_bins
from driftline.topics.events_around import EventAt
from stream_monitor.reference.loss import scores_of
from stream_monitor.reference.profile import ReferenceProfile
from stream_monitor.reference.transform import Transform

N_PREDICTIONS: Final = 1_000


def recent_predictions(
    profile: ReferenceProfile, events: Sequence[EventAt]
) -> FeatureBucket | None:
    """The predictions of ``events``; ``None`` without events, or without a reference of them."""
    reference = profile.prediction
    known = [each.event for each in events if not each.event.shadow]
    if reference is None or not known or not reference.bin_counts:
        return None
    predictions = [event.prediction_or_none for event in known]
    found = Transform(reference).apply(scores_of(predictions, profile.task, profile.positive))
    bins = np.bincount(reference.bin_of_index[found.index], minlength=len(reference.bin_counts))
    times = [event.time_ms for event in known]
    return bucket_of_bins(
        reference,
        bins.tolist(),
        n_invalid=int((~found.valid).sum()),
        start_ms=min(times),
        end_ms=max(times) + 1,
    )
