"""Fits a season where one half of the reference's periods predicts the other half."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeVar

import numpy as np

from stream_monitor.reference.season import DAY_MS, HOUR_MS, WEEK_MS, Season, slots_of
from stream_monitor.statistics.fixed_point import Floats, Ints

# Five days, or four weeks; with 1.4 periods a season gave 6 times the requested false alarms.
_MIN_PERIODS: Final = {DAY_MS: 5.0, WEEK_MS: 3.9}
_MIN_EXPLAINED: Final = 0.005  # of the variance; noise explains a negative share
_MIN_PER_SLOT: Final = 10
_PRIOR_EVENTS: Final = 100.0  # weight of the overall sd in the sd of a slot
_LEAST_VARIANCE: Final = 0.5

Channel = TypeVar("Channel", bound=str)


def fit_seasons(
    channel_values: Mapping[Channel, Floats], times_ms: Ints | None
) -> dict[Channel, Season]:
    """The seasons of a feature's channels, all of one period; empty where there is none.

    ``channel_values`` are the channels' reference values (n,) at event times ``times_ms`` (n,).
    The hour of the week is chosen where it explains more than the hour of the day does.
    """
    if times_ms is None or not len(times_ms):
        return {}
    best: tuple[float, dict[Channel, Season]] = (0.0, {})
    for period_ms in (DAY_MS, WEEK_MS):
        n_slots = period_ms // HOUR_MS
        n_periods = (int(times_ms.max()) - int(times_ms.min()) + HOUR_MS) / period_ms
        if n_periods < _MIN_PERIODS[period_ms] or len(times_ms) < _MIN_PER_SLOT * n_slots:
            continue
        slots, halves = slots_of(times_ms, period_ms, n_slots), times_ms // period_ms % 2
        explained = {
            name: explained_share(values, slots, halves, n_slots)
            for name, values in channel_values.items()
        }
        if max(explained.values()) > best[0] + _MIN_EXPLAINED:
            seasons = {
                name: _season(channel_values[name], slots, period_ms, n_slots, n_periods)
                for name, share in explained.items()
                if share > 0  # where one channel has a season, the others need less evidence
            }
            best = (max(explained.values()), seasons)
    return best[1]


def explained_share(values: Floats, slots: Ints, halves: Ints, n_slots: int) -> float:
    """The share of variance in each half of the periods that slot means of the other half explain.

    Means learned on the same values would explain a part of any noise, and much of dependent noise;
    on the other half they explain a negative share of noise.
    """
    deviations = values - values.mean()
    power = float(deviations @ deviations)
    if power <= 0:
        return 0.0
    left = 0.0
    for half in (0, 1):
        learned, tested = halves != half, halves == half
        means = _slot_sums(deviations[learned], slots[learned], n_slots)
        means /= np.bincount(slots[learned], minlength=n_slots) + 1.0
        errors = deviations[tested] - means[slots[tested]]
        left += float(errors @ errors)
    return 1 - left / power


def _season(values: Floats, slots: Ints, period_ms: int, n_slots: int, n_periods: float) -> Season:
    counts = np.bincount(slots, minlength=n_slots)
    means = np.where(
        counts, _slot_sums(values, slots, n_slots) / np.maximum(counts, 1), values.mean()
    )
    squares = (values - means[slots]) ** 2
    whole = float(squares.mean())
    leaning = (_slot_sums(squares, slots, n_slots) + _PRIOR_EVENTS * whole) / (
        counts + _PRIOR_EVENTS
    )
    variances = np.maximum(leaning, max(_LEAST_VARIANCE * whole, 1e-12))
    return Season(
        period_ms=period_ms,
        n_periods=n_periods,
        slot_means=means.astype("<f8").tobytes(),
        slot_sds=np.sqrt(variances).astype("<f8").tobytes(),
    )


def _slot_sums(values: Floats, slots: Ints, n_slots: int) -> Floats:
    sums: Floats = np.bincount(slots, weights=values, minlength=n_slots).astype(np.float64)
    return sums
