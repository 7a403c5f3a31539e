"""The smallest shift that shows within an hour or a day, feature by feature.  Pure.

A detector with a mean time ARL0 between false alarms needs at least ln(ARL0) / KL events on
average to find a change (Lorden, 1971), where KL is what one event tells of it.  A mean that moves
by d standard deviations tells d^2 / 2 an event, divided by tau where events depend on each other.
"""

from __future__ import annotations

import math

import msgspec

from driftline.explain.calibration import arl0_of, references_of
from stream_monitor.drift.calibration import Budget
from stream_monitor.reference.feature import FeatureReference
from stream_monitor.reference.profile import ReferenceProfile

OVER_THE_BOUND = 1.3
"""How far above the bound the median delay may lie (`make detection` measures it)."""


class FeaturePower(msgspec.Struct, frozen=True, kw_only=True):
    """``within_hour`` and ``within_day``: the smallest shift of the mean, in the feature's unit.

    ``None`` where so few events come that no shift would show.  ``sd`` is one standard deviation:
    for a category, of a category's share.
    """

    series: str
    mean: float | None
    sd: float | None
    within_hour: float | None
    within_day: float | None
    within_hour_sd: float | None
    within_day_sd: float | None


def power_of(
    profile: ReferenceProfile, budget: Budget, events_per_hour: float
) -> list[FeaturePower]:
    """What can be seen of every feature at such a rate."""
    arl0 = arl0_of(profile, budget)
    return [
        _power(name, reference, arl0, events_per_hour) for name, reference in references_of(profile)
    ]


def smallest_shift_sd(events: float, arl0_events: float, tau: float) -> float | None:
    """The shift, in standard deviations, that shows within so many events; ``None``: none does.

    >>> round(smallest_shift_sd(1_000, 1e6, 1.0), 2)
    0.19
    """
    independent = events / max(1.0, tau)
    if independent < 8:
        return None
    shift = math.sqrt(2 * OVER_THE_BOUND * math.log(arl0_events) / independent)
    return shift if shift <= 6 else None


def _power(
    name: str, reference: FeatureReference, arl0: float, events_per_hour: float
) -> FeaturePower:
    hour = smallest_shift_sd(events_per_hour, arl0, reference.tau)
    day = smallest_shift_sd(24 * events_per_hour, arl0, reference.tau)
    sd = reference.sd if reference.kind != "categorical" else 0.5

    def in_units(shift: float | None) -> float | None:
        return None if shift is None or not sd else shift * sd

    return FeaturePower(
        series=name,
        mean=reference.mean,
        sd=sd,
        within_hour=in_units(hour),
        within_day=in_units(day),
        within_hour_sd=None if hour is None else round(hour, 3),
        within_day_sd=None if day is None else round(day, 3),
    )
