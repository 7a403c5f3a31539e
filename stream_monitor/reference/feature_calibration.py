"""Calibrates the channels of a feature together: one block length, without their seasons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
import numpy as np

from stream_monitor.reference.channel_calibration import (
    ValueChannel,
    arl_widening,
    fit_channel,
    fit_validity,
    required_block,
)
from stream_monitor.reference.feature_reference import ChannelReference, FeatureReference
from stream_monitor.reference.season import BinCalendar, Season, slots_of
from stream_monitor.reference.season_fit import fit_seasons
from stream_monitor.reference.transform import Transform
from stream_monitor.statistics.dependence import autocorrelation_time
from stream_monitor.statistics.fixed_point import FIXED_POINT, Bools, Floats, Ints, to_fixed

MIN_REST_VALUES: Final = 100
"""The fewest values off a point mass on which their channels can be calibrated."""


def calibrate_channels(
    uncalibrated: FeatureReference,
    channel_values: Mapping[ValueChannel, Floats],
    index: Ints,
    invalid: Bools,
    times_ms: Ints | None,
    held_out: Bools | None = None,
) -> FeatureReference:
    """Calibrate the channels over one block length: that of the channel that needs the longest.

    ``channel_values`` and ``index`` are those of the valid values, and so is ``held_out``: the
    values to calibrate the channels on, where not on all of them.
    """
    when = None if times_ms is None else times_ms[~invalid]
    seasons = fit_seasons(channel_values, when)
    left = {
        channel: values
        if when is None or channel not in seasons
        else seasons[channel].residuals(to_fixed(values), when) / FIXED_POINT
        for channel, values in channel_values.items()
    }
    if held_out is not None:
        left = {channel: values[held_out] for channel, values in left.items()}
    asked = [required_block(values) for values in left.values()]
    tau, block = (max(column) for column in zip(*asked, strict=True))
    widening = arl_widening(len(next(iter(left.values()))), tau)
    table = Transform(uncalibrated)
    channels: list[ChannelReference] = []
    for channel, values in left.items():
        lookup = table.table(channel)
        if lookup is None:
            continue
        season = seasons.get(channel)
        max_deviation = max_deviation_of(lookup / FIXED_POINT, float(values.mean()), season)
        if max_deviation == 0:  # all its categories are rare and share one index: it can never move
            continue
        channels.append(fit_channel(channel, values, int(block), max_deviation, widening, season))
    channels.append(fit_validity(invalid, widening))
    calendar = None
    if when is not None and any(channel.season for channel in channels):
        counted = slice(None) if held_out is None else held_out
        season = next(iter(seasons.values()))
        codes = uncalibrated.bin_of_index[index[counted]]
        n_bins = len(uncalibrated.bin_counts)
        calendar = fit_calendar(codes, n_bins, season, when[counted], float(tau))
        if uncalibrated.kind == "numeric" and uncalibrated.mean is not None:
            calendar = _with_means(calendar, uncalibrated, index, when)
    # Windows do not remove the season, so to them it is dependence.
    of_windows = (
        max(autocorrelation_time(values) for values in channel_values.values()) if seasons else tau
    )
    return msgspec.structs.replace(
        uncalibrated,
        tau=float(of_windows),
        block=int(block),
        short=widening > 1,
        channels=tuple(channels),
        calendar=calendar,
    )


def calibrate_rest_channels(
    uncalibrated: FeatureReference, channel_values: Mapping[ValueChannel, Floats]
) -> FeatureReference:
    """Calibrate the channels of the values off a point mass, (n,) each; without seasons."""
    table = Transform(uncalibrated)
    asked = [required_block(values) for values in channel_values.values()]
    tau, block = (max(column) for column in zip(*asked, strict=True))
    widening = arl_widening(len(next(iter(channel_values.values()))), tau)
    rest: list[ChannelReference] = []
    for channel, values in channel_values.items():
        lookup = table.table(channel)
        max_deviation = 0.0
        if lookup is not None:
            max_deviation = max_deviation_of(lookup / FIXED_POINT, float(values.mean()), None)
        if max_deviation:
            rest.append(fit_channel(channel, values, int(block), max_deviation, widening))
    *others, validity = uncalibrated.channels
    return msgspec.structs.replace(uncalibrated, channels=(*others, *rest, validity))


def _with_means(
    calendar: BinCalendar, uncalibrated: FeatureReference, index: Ints, times_ms: Ints
) -> BinCalendar:
    """The calendar with the mean value of each slot, estimated by order statistics."""
    quantiles = uncalibrated.quantiles
    values = quantiles[np.minimum(index // 2, len(quantiles) - 1)]
    whole = uncalibrated.mean or 0.0
    slots = calendar.slots_of(times_ms)
    counts = np.bincount(slots, minlength=calendar.n_slots)
    sums = np.bincount(slots, weights=values - values.mean(), minlength=calendar.n_slots)
    means = whole + sums / np.maximum(1, counts)
    return msgspec.structs.replace(calendar, slot_means=means.astype("<f8").tobytes())


def max_deviation_of(values: Floats, mean: float, season: Season | None) -> float:
    """The largest possible distance of a channel's ``values`` from its mean."""
    if season is None:
        return float(np.abs(values - mean).max())
    return float(np.abs((values[:, None] - season.means) / season.sds).max())


def fit_calendar(
    codes: Ints, n_bins: int, season: Season, times_ms: Ints, tau: float
) -> BinCalendar:
    """The counts of bins by time slot, from the bin and the event time of each event (n,)."""
    n_slots = len(season.means)
    slots = slots_of(times_ms, season.period_ms, n_slots)
    counts = np.bincount(slots * n_bins + codes, minlength=n_slots * n_bins).astype("<i4")
    return BinCalendar(
        period_ms=season.period_ms, n_slots=n_slots, counts=counts.tobytes(), tau=tau
    )
