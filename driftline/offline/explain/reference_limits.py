"""What a reference proved of a season, and what of a feature it leaves unwatched.  Pure."""

from __future__ import annotations

import math
from typing import Final

import msgspec
import numpy as np

from stream_monitor.checks.out_of_range import bounds_to_watch
from stream_monitor.reference.feature_calibration import MIN_REST_VALUES
from stream_monitor.reference.feature_reference import OF_REST, FeatureReference
from stream_monitor.reference.fit import MIN_EVENTS
from stream_monitor.reference.profile import ReferenceProfile
from stream_monitor.reference.season import DAY_MS
from stream_monitor.statistics.fixed_point import Floats

_UNBOUNDED: Final = 1e300
_REPEATS_NOT_WATCHED: Final = (
    "a value that begins to repeat is not watched: the profile does not say which ones do, "
    "build it again"
)
_RANGE_NOT_WATCHED: Final = "its range is not watched: the profile has none"


class DetectedSeason(msgspec.Struct, frozen=True, kw_only=True):
    """A season of a feature: by the hour of the ``day`` or ``week``, from so many of them.

    ``explains`` is its share of the variance of the feature's ranks.  What ``n_periods`` leave
    unknown of it makes the smallest shift that shows larger, by the share ``costs``.
    """

    period: str
    n_periods: float
    explains: float
    costs: float

    def words(self) -> str:
        """It in a sentence.

        >>> DetectedSeason(period="day", n_periods=10.0, explains=0.334, costs=0.0488).words()
        'a season by the hour of the day, proved by 10.0 days: it explains 33 % of the variance, \
and what is unknown of it makes the smallest shift that shows 5 % larger'
        """
        return (
            f"a season by the hour of the {self.period}, proved by {self.n_periods:.1f} "
            f"{self.period}s: it explains {100 * self.explains:.0f} % of the variance, and what is "
            f"unknown of it makes the smallest shift that shows {100 * self.costs:.0f} % larger"
        )


def season_of(reference: FeatureReference) -> DetectedSeason | None:
    """The season of a feature, as the channel tells it that moves most with it."""
    if reference.calendar is None:
        return None
    weights = reference.calendar.table.sum(axis=1)
    seasons = [channel.season for channel in reference.channels if channel.season is not None]
    season = max(seasons, key=lambda one: one.explained(weights))
    return DetectedSeason(
        period="day" if season.period_ms == DAY_MS else "week",
        n_periods=round(season.n_periods, 2),
        explains=round(season.explained(weights), 4),
        costs=round(math.sqrt(season.uncertainty) - 1, 4),
    )


def seasons_of(profile: ReferenceProfile) -> dict[str, DetectedSeason]:
    """The seasons that a profile has proved, by feature."""
    found = {name: season_of(reference) for name, reference in profile.features.items()}
    return {name: season for name, season in found.items() if season is not None}


def not_watched_by_feature(profile: ReferenceProfile) -> dict[str, list[str]]:
    """What is not watched of which feature, and why."""
    found = {name: _of_reference(reference) for name, reference in profile.features.items()}
    return {name: lines for name, lines in found.items() if lines}


def lines_of(profile: ReferenceProfile) -> list[str]:
    """Both, a line each."""
    lines = [f"{name}: {season.words()}" for name, season in seasons_of(profile).items()]
    return lines + [
        f"{name}: {why}" for name, all_ in not_watched_by_feature(profile).items() for why in all_
    ]


def not_watched_values(values: Floats) -> list[str]:
    """What a reference of these values (n,) of a number would leave unwatched.

    Of fewer than a reference takes nothing is said, and nothing of its range.

    >>> not_watched_values(np.append(np.zeros(9_950), np.arange(1.0, 51.0)))
    ['values other than 0 are not watched by themselves: there are 50, and 100 are needed']
    """
    known = values[np.isfinite(values)]
    if len(known) < MIN_EVENTS or len(np.unique(known)) < 3:  # two are a boolean
        return []
    middle = float(np.sort(known)[len(known) // 2])
    n_rest = int(np.count_nonzero(known != middle))
    few = 0 < n_rest < MIN_REST_VALUES and 2 * n_rest < len(known)
    return [_of_rest(middle, n_rest)] if few else []


def _of_rest(value: float, n_rest: int) -> str:
    return (
        f"values other than {value:g} are not watched by themselves: there are {n_rest}, and "
        f"{MIN_REST_VALUES} are needed"
    )


def _of_reference(reference: FeatureReference) -> list[str]:
    if reference.kind != "numeric":
        return []
    bounds = bounds_to_watch(reference)
    if bounds is None:
        return [_RANGE_NOT_WATCHED]
    lines = [] if bounds.chance > 0 else [_REPEATS_NOT_WATCHED]
    lines += [
        f"no value is too {side} for it: no limit follows from its tail "
        f"(profile build --range {reference.name}=LOW:HIGH)"
        for side, endless in (("low", bounds.low < -_UNBOUNDED), ("high", bounds.high > _UNBOUNDED))
        if endless and not bounds.declared
    ]
    mass = reference.point_mass
    if mass is not None and OF_REST.isdisjoint(one.channel for one in reference.channels):
        own = int(reference.bin_of_index[sum(mass)])
        n_rest = sum(reference.bin_counts) - reference.bin_counts[own]
        lines.append(_of_rest(float(reference.quantiles[mass[0]]), n_rest))
    return lines
