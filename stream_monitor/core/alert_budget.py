"""Divides the false-alarm budget of a model among the detectors of a version."""

from __future__ import annotations

from typing import Final

from stream_monitor.checks.error_estimate import LOSS, references_of_model
from stream_monitor.detectors.calibration import Budget, arl0_events, in_events
from stream_monitor.reference.profile import ReferenceProfile

TRAFFIC_DETECTORS: Final = 4
"""Silence, volume, label outage, label delay: they share the model's budget."""


def arl0_per_detector(profile: ReferenceProfile, budget: Budget) -> float:
    """Events between false alarms of one detector, so that all detectors keep to the budget.

    Two detectors watch each channel, each feature correlation, and each range (how many values lie
    outside, and which repeat); the traffic has its own.  Those of the loss are counted from the
    start, although its reference may come later.  The detectors of a segment count by its share of
    the events.  A budget per week is converted by the reference's events per week.
    """
    of_model = references_of_model(profile)
    channels = sum(len(reference.channels) for reference in profile.features.values())
    channels += sum(len(reference.channels) for reference, _ in of_model.values())
    channels += (LOSS not in of_model) + len(profile.correlations)
    channels += sum(feature.bounds is not None for feature in profile.features.values())
    parts = sum(
        segment.share * len(reference.channels)
        for segment in profile.segments
        for reference in segment.references
    )
    per_events = in_events(budget, profile.events_per_week)
    return arl0_events(per_events, 2 * (channels + parts) + TRAFFIC_DETECTORS)


def arl0_without_reference(budget: Budget, events_per_week: float | None) -> float:
    """Events between false alarms of one traffic detector of a model without a reference.

    ``events_per_week`` is estimated from the traffic so far.

    >>> arl0_without_reference(Budget(per_weeks=1.0), 5_000.0)
    20000.0
    >>> arl0_without_reference(Budget(), 5_000.0)
    4000000.0
    """
    return arl0_events(in_events(budget, events_per_week), TRAFFIC_DETECTORS)
