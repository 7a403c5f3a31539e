"""A feature's channels, calibrated together: one block length, what the season leaves of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
import numpy as np

from stream_monitor.reference.channels import (
    SeriesChannel,
    fit_channel,
    fit_validity,
    series_block,
    widening_of,
)
from stream_monitor.reference.dependence import autocorrelation_time
from stream_monitor.reference.feature import ChannelReference, FeatureReference
from stream_monitor.reference.fixed_point import FIXED_POINT, Bools, Floats, Ints, to_fixed
from stream_monitor.reference.season import BinCalendar, Season, slots_of
from stream_monitor.reference.season_proof import prove
from stream_monitor.reference.transform import Transform

MIN_REST: Final = 100
"""Values off a point mass that can say how such values behave."""


def with_channels(
    stated: FeatureReference,
    series: Mapping[SeriesChannel, Floats],
    index: Ints,
    invalid: Bools,
    times_ms: Ints | None,
    fresh: Bools | None = None,
) -> FeatureReference:
    """Calibrate the channels over one block length: that of the channel that needs the longest.

    ``series`` and ``index`` are of the valid values alone, and so is ``fresh``: which of them may
    say how the channels behave, where that is not all of them.
    """
    when = None if times_ms is None else times_ms[~invalid]
    seasons = prove(series, when)
    left = {
        channel: values
        if when is None or channel not in seasons
        else seasons[channel].residuals(to_fixed(values), when) / FIXED_POINT
        for channel, values in series.items()
    }
    if fresh is not None:
        left = {channel: values[fresh] for channel, values in left.items()}
    asked = [series_block(values) for values in left.values()]
    tau, block = (max(column) for column in zip(*asked, strict=True))
    widening = widening_of(len(next(iter(left.values()))), tau)
    table = Transform(stated)
    channels: list[ChannelReference] = []
    for channel, values in left.items():
        lookup = table.table(channel)
        if lookup is None:
            continue
        season = seasons.get(channel)
        reach = reach_of(lookup / FIXED_POINT, float(values.mean()), season)
        if reach == 0:  # all its categories are rare, and one: it can never move
            continue
        channels.append(fit_channel(channel, values, int(block), reach, widening, season))
    channels.append(fit_validity(invalid, widening))
    calendar = None
    if when is not None and any(channel.season for channel in channels):
        counted = slice(None) if fresh is None else fresh
        season = next(iter(seasons.values()))
        codes = stated.bin_of_index[index[counted]]
        n_bins = len(stated.bin_counts)
        calendar = calendar_of(codes, n_bins, season, when[counted], float(tau))
        if stated.kind == "numeric" and stated.mean is not None:
            calendar = _with_means(calendar, stated, index, when)
    # The windows know no season: to them it is dependence.
    of_windows = max(autocorrelation_time(values) for values in series.values()) if seasons else tau
    return msgspec.structs.replace(
        stated,
        tau=float(of_windows),
        block=int(block),
        short=widening > 1,
        channels=tuple(channels),
        calendar=calendar,
    )


def with_rest(stated: FeatureReference, series: Mapping[SeriesChannel, Floats]) -> FeatureReference:
    """Calibrate the channels of the values off a point mass, (n,) each; they know no season."""
    table = Transform(stated)
    asked = [series_block(values) for values in series.values()]
    tau, block = (max(column) for column in zip(*asked, strict=True))
    widening = widening_of(len(next(iter(series.values()))), tau)
    rest: list[ChannelReference] = []
    for channel, values in series.items():
        lookup = table.table(channel)
        reach = 0.0
        if lookup is not None:
            reach = reach_of(lookup / FIXED_POINT, float(values.mean()), None)
        if reach:
            rest.append(fit_channel(channel, values, int(block), reach, widening))
    *others, validity = stated.channels
    return msgspec.structs.replace(stated, channels=(*others, *rest, validity))


def _with_means(
    calendar: BinCalendar, stated: FeatureReference, index: Ints, times_ms: Ints
) -> BinCalendar:
    """With the mean of the values of each slot, by the order statistics that they lie at."""
    quantiles = stated.quantiles
    values = quantiles[np.minimum(index // 2, len(quantiles) - 1)]
    whole = stated.mean or 0.0
    slots = calendar.slots_of(times_ms)
    counts = np.bincount(slots, minlength=calendar.n_slots)
    sums = np.bincount(slots, weights=values - values.mean(), minlength=calendar.n_slots)
    means = whole + sums / np.maximum(1, counts)
    return msgspec.structs.replace(calendar, slot_means=means.astype("<f8").tobytes())


def reach_of(values: Floats, mean: float, season: Season | None) -> float:
    """How far from its mean a channel can lie, for all its possible ``values``."""
    if season is None:
        return float(np.abs(values - mean).max())
    return float(np.abs((values[:, None] - season.means) / season.sds).max())


def calendar_of(
    codes: Ints, n_bins: int, season: Season, times_ms: Ints, tau: float
) -> BinCalendar:
    """What is in the bins at which time, from the bin and the event time of each event (n,)."""
    n_slots = len(season.means)
    slots = slots_of(times_ms, season.period_ms, n_slots)
    counts = np.bincount(slots * n_bins + codes, minlength=n_slots * n_bins).astype("<i4")
    return BinCalendar(
        period_ms=season.period_ms, n_slots=n_slots, counts=counts.tobytes(), tau=tau
    )
