"""What each detector of a version may spend of the budget of false alarms."""

from __future__ import annotations

from stream_monitor.drift.calibration import Budget, arl0_events, in_events
from stream_monitor.reference.profile import ReferenceProfile
from stream_monitor.traffic.chance import DETECTORS
from stream_monitor.watched.estimate import LOSS, references_of_model


def arl0_of(profile: ReferenceProfile, budget: Budget) -> float:
    """Events between false alarms of one detector, so that all together keep to the budget.

    Two detectors watch each channel, each relation, and each range (how many values lie outside,
    and which repeat); the traffic has its own.  The loss may come later: its two are counted
    from the start.  A segment sees its share of the events, so its detectors cost as much less.  A
    budget per week is one per what the reference has in a week.
    """
    of_model = references_of_model(profile)
    channels = sum(len(reference.channels) for reference in profile.features.values())
    channels += sum(len(reference.channels) for reference, _ in of_model.values())
    channels += (LOSS not in of_model) + len(profile.relations)
    channels += sum(feature.bounds is not None for feature in profile.features.values())
    parts = sum(
        segment.share * len(reference.channels)
        for segment in profile.segments
        for reference in segment.references
    )
    per_events = in_events(budget, profile.events_per_week)
    return arl0_events(per_events, 2 * (channels + parts) + DETECTORS)
