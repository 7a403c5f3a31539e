"""The reference at the hours of the fresh events, where the reference has a season."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from stream_monitor.episodes.error_rate_tracker import share_wrong
from stream_monitor.episodes.phase_decision import PhaseDecision
from stream_monitor.reference.profile import FeatureReference


class SeasonalReference(NamedTuple):
    """The mean and the bin counts to compare with; ``at`` is a phrase for messages, or empty."""

    mean: float | None
    bins: tuple[int, ...]
    at: str = ""


def seasonal_reference(reference: FeatureReference, decision: PhaseDecision) -> SeasonalReference:
    """Return the reference at the hours of a decision's events; all of it without a season."""
    calendar = reference.calendar
    if calendar is None or not any(decision.slots):
        return SeasonalReference(reference.mean, reference.bin_counts)
    slots = np.array(decision.slots, dtype=np.int64)
    bins = tuple(calendar.expected(slots))
    mean = calendar.mean_at(slots)
    if reference.kind == "outcome":
        mean = share_wrong(bins)
    elif reference.kind == "boolean":
        mean = bins[-1] / max(1, sum(bins))
    if mean is None and reference.kind == "numeric":  # stored before such means were
        return SeasonalReference(reference.mean, reference.bin_counts)
    return SeasonalReference(mean, bins, " at these hours")
