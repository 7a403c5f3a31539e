"""Which range of a feature is watched: that of its profile, or one derived from an older one."""

from __future__ import annotations

from typing import Final

import msgspec

from stream_monitor.reference.bounds import ValueBounds, bounds_of
from stream_monitor.reference.feature import FeatureReference

DERIVED_ARL0: Final = 10.0
"""Derived bounds cost the budget next to nothing: detectors of before keep their thresholds."""


def bounds_to_watch(reference: FeatureReference) -> ValueBounds | None:
    """The bounds of a feature; ``None`` where it has none.

    A profile stored before there were bounds has order statistics: tails follow from them, and that
    a value which is not among m of them has come at most once in m events.
    """
    if reference.kind != "numeric" or reference.bounds is not None:
        return reference.bounds
    quantiles = reference.quantiles
    tau = max((c.tau for c in reference.channels if c.channel != "validity"), default=1.0)
    n = max(1, reference.n_events - reference.n_invalid)
    derived = bounds_of(quantiles, tau, n=n)
    ends = (reference.minimum, reference.maximum)
    lowest, highest = (derived.low if ends[0] is None else ends[0],
                       derived.high if ends[1] is None else ends[1])  # fmt: skip
    chance = derived.chance
    if chance and n > len(quantiles):
        chance = max(chance, 1 / len(quantiles))
    return msgspec.structs.replace(
        derived,
        low=min(derived.low, lowest),
        high=max(derived.high, highest),
        chance=chance,
        rarer=DERIVED_ARL0,
    )
