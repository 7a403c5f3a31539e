"""The number of events after which an injected change should raise an alert.  Pure.

The computation is that of `explain power`, on the reference's values after the injection.  The
interval around the expected signal comes from the inverse Gaussian distribution: the time until a
drifting sum of standardised block means reaches its threshold.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from scipy.stats import invgauss

from driftline.offline.explain.detection_delay import (
    ExpectedSignal,
    confirmation_interval,
    expected_signal,
)
from driftline.offline.explain.simulated_shift import FeatureShifts, ShiftedFeature, support_of
from driftline.offline.injection import Injection, inject
from producer.events import Value
from stream_monitor.episodes.policy import EpisodePolicy
from stream_monitor.reference.feature_reference import OF_REST, FeatureReference
from stream_monitor.reference.transform import Transform
from stream_monitor.statistics.fixed_point import FIXED_POINT, Floats, Ints

_TAIL: Final = 0.1
_LEAST: Final = 1e-6


class ExpectedDelay(NamedTuple):
    """The interval of events from the change to the alert, for eight of ten such changes."""

    low: int
    high: int


def expected_delay(
    reference: FeatureReference, injection: Injection, arl0_events: float, policy: EpisodePolicy
) -> ExpectedDelay | None:
    """The expected delay of the alert; ``None`` if such a change raises none."""
    changes = [(_valued(reference, injection), False), (_missing(reference, injection), True)]
    bands = [
        band
        for shifted, is_missing in changes
        if shifted is not None
        and (band := _band(reference, shifted, arl0_events, policy, missing=is_missing)) is not None
    ]
    return min(bands, key=lambda band: band.high, default=None)


def _band(
    reference: FeatureReference,
    shifted: ShiftedFeature,
    arl0_events: float,
    policy: EpisodePolicy,
    *,
    missing: bool,
) -> ExpectedDelay | None:
    signals = [
        expected_signal(channel, arl0_events, shifted.channels[channel.channel])
        for channel in reference.channels
        if channel.channel in shifted.channels
    ]
    first = min(signals, key=lambda signal: signal.blocks * signal.block, default=None)
    bins: tuple[int, ...] = reference.bin_counts
    calendar = reference.calendar
    tau = reference.tau if calendar is None else calendar.tau
    if missing:
        bins, tau = (reference.n_events - reference.n_invalid, reference.n_invalid), 1.0
    soon, late = confirmation_interval(shifted, bins, tau, policy, _TAIL)
    if first is None or math.isinf(first.blocks) or math.isinf(soon):
        return None
    low, high = _signal_interval(first)
    return ExpectedDelay(round(low + soon), math.ceil(high + late))


def _signal_interval(signal: ExpectedSignal) -> tuple[float, float]:
    """The interval of the events to a signal; the change may begin anywhere in a block."""
    shape = (signal.blocks * signal.drift) ** 2
    low, high = (
        float(invgauss.ppf(share, signal.blocks / shape, scale=shape))
        for share in (_TAIL, 1 - _TAIL)
    )
    return max(1.0, math.floor(low)) * signal.block, (math.ceil(high) + 1) * signal.block


def _valued(reference: FeatureReference, injection: Injection) -> ShiftedFeature | None:
    """The effect of the injection on valid values; ``None`` without one."""
    if injection.kind == "missing":
        return None
    transform = Transform(reference)
    before, weights, values = support_of(reference, transform)
    after = transform.apply(_changed(reference, injection, values))
    kept = weights[after.valid]
    if not kept.sum():
        return None
    kept = kept / kept.sum()
    weights = weights / weights.sum()
    channels: dict[str, float] = {
        channel.channel: _mean(table, after.index, kept) - _mean(table, before, weights)
        for channel in reference.channels
        if channel.channel not in OF_REST
        and (table := transform.table(channel.channel)) is not None
    }
    shares = np.bincount(
        transform.bin[after.index], weights=kept, minlength=len(reference.bin_counts)
    ).astype(np.float64)
    return ShiftedFeature(channels, shares, 0.0)


def _missing(reference: FeatureReference, injection: Injection) -> ShiftedFeature | None:
    """The effect on the share of missing, invalid and unknown values; ``None`` without one."""
    share = injection.amount
    if injection.kind != "missing":
        transform = Transform(reference)
        _, weights, values = support_of(reference, transform)
        valid = transform.apply(_changed(reference, injection, values)).valid
        share = float(weights[~valid].sum() / weights.sum())
    shifts = FeatureShifts(reference, "missing")
    return shifts.of(min(share, 1.0) * shifts.largest) if share > _LEAST else None


def _changed(reference: FeatureReference, injection: Injection, values: list[Value]) -> list[Value]:
    sd = reference.sd or 0.0
    return [inject(injection, value, injection.first, sd) for value in values]


def _mean(table: Ints, index: Ints, weights: Floats) -> float:
    return float(table[index] @ weights) / FIXED_POINT
