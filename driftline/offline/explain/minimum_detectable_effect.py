"""The smallest change of each feature that raises an alert within an hour or a day.  Pure."""

from __future__ import annotations

import math
from typing import Final

import msgspec

from driftline.offline.explain.detection_delay import (
    ChangeKind,
    FeatureShifts,
    events_to_confirmation,
    events_to_signal,
)
from driftline.offline.explain.threshold_calibration import references_of
from stream_monitor.core.alert_budget import arl0_per_detector
from stream_monitor.detectors.calibration import Budget
from stream_monitor.episodes.policy import EpisodePolicy
from stream_monitor.reference.feature_reference import FeatureReference
from stream_monitor.reference.profile import ReferenceProfile

_HALVINGS: Final = 14
_CHANGES: Final[tuple[ChangeKind, ChangeKind]] = ("value", "missing")


class DetectableEffect(msgspec.Struct, frozen=True, kw_only=True):
    """The smallest change that raises an alert within some time in half of the cases.

    ``units`` is the move of the mean in the feature's own unit, ``sd`` in standard deviations of
    its ranks.  For a boolean or a category, ``units`` is the share of events that moves, and ``sd``
    is null.
    """

    units: float
    sd: float | None = None


class FeatureDetectableEffect(msgspec.Struct, frozen=True, kw_only=True):
    """The smallest detectable changes of one series; null if no change is detected in that time.

    ``missing_*`` are additional shares of values that are missing, invalid or unknown.
    """

    series: str
    kind: str
    mean: float | None
    within_hour: DetectableEffect | None
    within_day: DetectableEffect | None
    missing_within_hour: float | None
    missing_within_day: float | None


def minimum_detectable_effects(
    profile: ReferenceProfile, budget: Budget, policy: EpisodePolicy, events_per_hour: float
) -> list[FeatureDetectableEffect]:
    """The smallest detectable changes of every feature, at ``events_per_hour``."""
    arl0 = arl0_per_detector(profile, budget)
    found = []
    for name, watched in references_of(profile):
        # The change is one of the share of errors, whatever their expected share.
        reference = profile.loss or watched if watched.kind == "outcome" else watched
        of_value, of_missing = (
            [
                minimum_detectable_effect(reference, change, arl0, policy, hours * events_per_hour)
                for hours in (1, 24)
            ]
            for change in _CHANGES
        )
        missing = [None if one is None else one.units for one in of_missing]
        found.append(
            FeatureDetectableEffect(
                series=name,
                kind=reference.kind,
                mean=reference.mean,
                within_hour=of_value[0],
                within_day=of_value[1],
                missing_within_hour=missing[0],
                missing_within_day=missing[1],
            )
        )
    return found


def minimum_detectable_effect(
    reference: FeatureReference,
    change: ChangeKind,
    arl0_events: float,
    policy: EpisodePolicy,
    events: float,
) -> DetectableEffect | None:
    """The smallest change of a kind that raises an alert within ``events`` events."""
    shifts = FeatureShifts(reference, change)
    low, high = 0.0, shifts.largest
    if _events(reference, shifts, change, arl0_events, policy, high) > events:
        return None
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        late = _events(reference, shifts, change, arl0_events, policy, middle) > events
        low, high = (middle, high) if late else (low, middle)
    in_sd = reference.kind == "numeric" and change == "value"
    return DetectableEffect(units=shifts.of(high).units, sd=round(high, 3) if in_sd else None)


def _events(
    reference: FeatureReference,
    shifts: FeatureShifts,
    change: ChangeKind,
    arl0_events: float,
    policy: EpisodePolicy,
    size: float,
) -> float:
    """The expected events from a change of ``size`` to its alert."""
    shifted = shifts.of(size)
    signal = min(
        (
            events_to_signal(channel, arl0_events, shifted.channels[channel.channel])
            for channel in reference.channels
            if channel.channel in shifted.channels
        ),
        default=math.inf,
    )
    if change == "missing":
        invalid = reference.n_invalid
        bins = (reference.n_events - invalid, invalid)
        return signal + events_to_confirmation(shifted, bins, 1.0, policy)
    calendar = reference.calendar
    tau = reference.tau if calendar is None else calendar.tau
    return signal + events_to_confirmation(shifted, reference.bin_counts, tau, policy)
