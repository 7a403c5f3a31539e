"""Validates a profile, which comes from outside, before it is used."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Final

import numpy as np

from stream_monitor.detectors.adwin_state import adwin_clock
from stream_monitor.detectors.adwin_state import check as check_adwin
from stream_monitor.reference.bounds import ValueBounds
from stream_monitor.reference.correlation_reference import CorrelationReference
from stream_monitor.reference.feature_reference import OF_REST, ChannelReference, FeatureReference
from stream_monitor.reference.season import HOUR_MS, BinCalendar, Season
from stream_monitor.reference.values import MAX_MAGNITUDE
from stream_monitor.statistics.fixed_point import FIXED_POINT

_MAX_BLOCK: Final = 1 << 16
_MAX_ORDER_STATISTICS: Final = 4096
_MAX_BINS: Final = 128
_MAX_SLOTS: Final = 1024
_MAX_COUNT: Final = 1 << 53


def _require(condition: bool, message: str) -> None:  # noqa: FBT001 - reads as a sentence
    if not condition:
        raise ValueError(message)


def _finite(where: str, numbers: Iterable[float | None]) -> None:
    known = [x for x in numbers if x is not None]
    _require(all(map(math.isfinite, known)), f"{where}: not finite")


def validate_feature(feature: FeatureReference) -> None:
    """Raise ValueError, with the part, unless detectors can be built from ``feature``."""
    where = f"feature {feature.name!r}"
    numbers = (feature.centre, feature.scale, feature.mean, feature.sd, feature.tau)
    _finite(where, (*numbers, feature.minimum, feature.maximum))
    _require(feature.scale > 0 and feature.tau >= 1, f"{where}: impossible scale or tau")
    counts = (feature.n_events, feature.n_invalid)
    _require(0 <= counts[1] <= counts[0] < _MAX_COUNT, f"{where}: impossible counts")
    repeats = feature.repeats
    _require(repeats is None or 0 <= repeats < 1, f"{where}: impossible share of repeats")
    if feature.kind == "numeric":
        _check_order_statistics(where, feature)
    if feature.bounds is not None:
        _check_bounds(where, feature.bounds)
    if feature.kind == "categorical":
        names = (*feature.categories[1:], *feature.rare)
        _require(len(feature.categories) >= 1, f"{where}: no categories")
        _require(len(set(names)) == len(names), f"{where}: a category twice")
        _require(
            len(feature.category_counts) == len(feature.categories)
            and min(feature.category_counts) >= 0
            and 0 < sum(feature.category_counts) < _MAX_COUNT,
            f"{where}: category counts do not fit",
        )
    if feature.kind == "outcome":
        _check_outcome(where, feature)
    _check_bins(where, feature)
    channels = [channel.channel for channel in feature.channels]
    _require(len(set(channels)) == len(channels) >= 1, f"{where}: no channels, or one twice")
    if not OF_REST.isdisjoint(channels) and feature.point_mass is None:
        raise ValueError(f"{where}: statistics of values off a point mass, but no point mass")
    if (feature.calendar is None) != all(c.season is None for c in feature.channels):
        raise ValueError(f"{where}: a season and a calendar of bins require each other")
    _check_calendar(where, feature.calendar, len(feature.bin_counts))
    for channel in feature.channels:
        _check_channel(f"{where}, {channel.channel}", channel)


def validate_correlation(
    pair: CorrelationReference, features: Mapping[str, FeatureReference]
) -> None:
    """Raise ValueError, with the part, unless detectors can be built from ``pair``."""
    where = f"feature correlation {pair.name!r}"
    ends = (pair.first, pair.first_starts), (pair.second, pair.second_starts)
    for name, starts in ends:
        _require(name in features, f"{where}: there is no feature {name!r}")
        ascending = all(a < b for a, b in pairwise(starts))
        _require(
            1 <= len(starts) <= _MAX_BINS
            and starts[0] == 0
            and ascending
            and starts[-1] < features[name].n_indices,
            f"{where}: impossible levels of {name!r}",
        )
    _finite(where, (pair.correlation, pair.centre, pair.scale, pair.tau))
    _require(pair.scale > 0 and pair.tau >= 1, f"{where}: impossible scale or tau")
    cells = pair.cells
    _require(
        len(cells) == len(pair.first_starts) * len(pair.second_starts)
        and min(cells) >= 0
        and 0 < sum(cells) < _MAX_COUNT,
        f"{where}: impossible counts of its cells",
    )
    _require(pair.channel.channel == "product", f"{where}: another channel")
    if (pair.calendar is None) != (pair.channel.season is None):
        raise ValueError(f"{where}: a season and a calendar of cells require each other")
    _check_calendar(where, pair.calendar, len(cells))
    _check_channel(where, pair.channel)


def _check_outcome(where: str, feature: FeatureReference) -> None:
    losses = feature.expected_losses
    _require(
        len(losses) >= 2 and all(0 <= loss <= FIXED_POINT for loss in losses),
        f"{where}: the expected losses are invalid",
    )
    _require(len(feature.bin_starts) == feature.n_indices, f"{where}: bins do not fit its losses")
    _require(feature.mean is not None, f"{where}: no mean")


def _check_calendar(where: str, calendar: BinCalendar | None, n_bins: int) -> None:
    if calendar is None:
        return
    size = 4 * calendar.n_slots * n_bins
    _require(
        2 <= calendar.n_slots <= _MAX_SLOTS
        and calendar.period_ms >= HOUR_MS
        and len(calendar.counts) == size,
        f"{where}: impossible calendar",
    )
    _require(1 <= calendar.tau < math.inf, f"{where}: impossible tau of the calendar")
    table = calendar.table
    _require(
        bool((table >= 0).all() and table.any()), f"{where}: impossible counts in the calendar"
    )
    means = calendar.slot_means
    _require(
        not means
        or (
            len(means) == 8 * calendar.n_slots
            and bool(np.isfinite(np.frombuffer(means, dtype="<f8")).all())
        ),
        f"{where}: impossible means in the calendar",
    )


def _check_season(where: str, season: Season) -> None:
    sizes = {len(season.slot_means), len(season.slot_sds)}
    _require(
        len(sizes) == 1 and sizes <= {8 * n for n in range(2, _MAX_SLOTS + 1)},
        f"{where}: impossible slots of the season",
    )
    _require(
        season.period_ms >= HOUR_MS and 1 <= season.n_periods < math.inf,
        f"{where}: impossible period of the season",
    )
    _require(
        bool((np.abs(season.means) <= 16).all() and ((season.sds > 0) & (season.sds <= 16)).all()),
        f"{where}: impossible mean or sd of a season's slot",
    )


def _check_order_statistics(where: str, feature: FeatureReference) -> None:
    size = len(feature.order_statistics)
    _require(
        size % 8 == 0 and 1 <= size // 8 <= _MAX_ORDER_STATISTICS,
        f"{where}: impossible number of order statistics",
    )
    quantiles = feature.quantiles
    ends = abs(float(quantiles[0])), abs(float(quantiles[-1]))
    _require(
        bool((quantiles[1:] >= quantiles[:-1]).all()) and all(x <= MAX_MAGNITUDE for x in ends),
        f"{where}: order statistics out of range or order",
    )


def _check_bounds(where: str, bounds: ValueBounds) -> None:
    _finite(f"{where}, bounds", (bounds.low, bounds.high, bounds.rate, bounds.chance, bounds.rarer))
    _require(bounds.low <= bounds.high, f"{where}: its lowest value is above its highest")
    _require(
        0 < bounds.rate < 1 and 0 <= bounds.chance < 1 and 0 <= bounds.n_outside < _MAX_COUNT,
        f"{where}: impossible chance of a value outside, or of one that repeats",
    )
    _require(
        1 <= bounds.span_events <= _MAX_BLOCK and bounds.rarer >= 1,
        f"{where}: impossible span of its range",
    )
    size = len(bounds.known)
    _require(size % 8 == 0 and size // 8 <= _MAX_ORDER_STATISTICS, f"{where}: too many values")
    known = bounds.known_values
    _require(
        bool(np.isfinite(known).all() and (known[1:] > known[:-1]).all()),
        f"{where}: values that repeat are not ascending",
    )
    size = len(bounds.frequent)
    _require(size % 2 == 0 and size // 2 <= _MAX_ORDER_STATISTICS, f"{where}: too many values")
    _require(
        bool((bounds.frequent_hashes[1:] > bounds.frequent_hashes[:-1]).all()),
        f"{where}: hashes of frequent values are not ascending",
    )


def _check_bins(where: str, feature: FeatureReference) -> None:
    starts, counts = feature.bin_starts, feature.bin_counts
    _require(1 <= len(starts) <= _MAX_BINS, f"{where}: impossible number of bins")
    _require(len(starts) == len(counts) == len(feature.bin_labels), f"{where}: bins do not fit")
    ascending = all(a < b for a, b in pairwise(starts))
    _require(
        starts[0] == 0 and ascending and starts[-1] < feature.n_indices, f"{where}: bins overlap"
    )
    _require(min(counts) >= 0 and 0 < sum(counts) < _MAX_COUNT, f"{where}: impossible bin counts")


def _check_channel(where: str, channel: ChannelReference) -> None:
    numbers = (channel.mean, channel.sd, channel.tau, channel.skew, channel.theta, channel.vif)
    _finite(where, (*numbers, channel.adwin_scale, channel.widening, channel.allowance))
    block = channel.block
    _require(1 <= block <= _MAX_BLOCK and block & (block - 1) == 0, f"{where}: impossible block")
    _require(1 <= channel.n_blocks < _MAX_COUNT, f"{where}: impossible number of blocks")
    _require(0.1 <= channel.allowance <= 4, f"{where}: impossible allowance")
    _require(
        channel.sd > 0 and 0 < channel.theta <= 2 * channel.allowance,
        f"{where}: impossible sd or theta",
    )
    _require(
        min(channel.tau, channel.vif, channel.widening) >= 1 and channel.adwin_scale > 0,
        f"{where}: impossible tau, vif, widening or scale",
    )
    if channel.season is not None:
        _require(channel.channel != "validity", f"{where}: a season")
        _check_season(where, channel.season)
    if channel.adwin is not None:
        check_adwin(channel.adwin)
        _require(channel.adwin.clock == adwin_clock(block), f"{where}: another clock")
        _require(not channel.adwin.flagged, f"{where}: not stationary, yet primed")
