"""The newest events of a version, over the bins of its reference.  Pure.

Closed windows have no predictions, and nothing of the hour that is not over.  So predictions, and
features without a closed window, are taken from the newest events themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from driftline.dashboard.window_series import FeatureBucket, bucket_of_bins
from driftline.topics.events_around import EventAt
from stream_monitor.reference.feature_reference import FeatureReference
from stream_monitor.reference.loss import scores_of
from stream_monitor.reference.profile import ReferenceProfile
from stream_monitor.reference.transform import Transform
from stream_monitor.reference.values import Column

N_RECENT: Final = 1_000


class RecentValues(NamedTuple):
    """The predictions and the features of the newest events; those without a reference are absent.

    ``features`` is empty unless it was asked for.
    """

    prediction: FeatureBucket | None = None
    features: dict[str, FeatureBucket] = {}  # noqa: RUF012 - never written to


NONE_RECENT: Final = RecentValues()


def recent_values(
    profile: ReferenceProfile,
    events: Sequence[EventAt],
    *,
    features: bool = False,
    since_ms: int = 0,
) -> RecentValues:
    """The values of the events from ``since_ms`` on, shadow predictions left out.

    ``features``: whether those of features are counted too.
    """
    known = [each.event for each in events if not each.event.shadow]
    known = [event for event in known if event.time_ms >= since_ms]
    if not known:
        return NONE_RECENT
    times = [event.time_ms for event in known]
    start_ms, end_ms = min(times), max(times) + 1
    prediction = profile.prediction
    scores: Column = []
    if prediction is not None:
        predictions = [event.prediction_or_none for event in known]
        scores = scores_of(predictions, profile.task, profile.positive)
    named = profile.features if features else {}
    found = {
        name: _bucket(reference, [e.features.get(name) for e in known], start_ms, end_ms)
        for name, reference in named.items()
    }
    return RecentValues(
        None if prediction is None else _bucket(prediction, scores, start_ms, end_ms),
        {name: bucket for name, bucket in found.items() if bucket is not None},
    )


def _bucket(
    reference: FeatureReference, values: Column, start_ms: int, end_ms: int
) -> FeatureBucket | None:
    if not reference.bin_counts:
        return None
    found = Transform(reference).apply(values)
    bins = np.bincount(reference.bin_of_index[found.index], minlength=len(reference.bin_counts))
    bucket = bucket_of_bins(
        reference,
        bins.tolist(),
        n_invalid=int((~found.valid).sum()),
        start_ms=start_ms,
        end_ms=end_ms,
    )
    raw = found.raw
    return bucket if raw is None or not len(raw) else bucket._replace(mean=float(raw.mean()))
