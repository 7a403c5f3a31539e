"""The seasons of a reference, and the parts of its features that are not watched.  Pure."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import msgspec
import numpy as np

from stream_monitor.checks.out_of_range import bounds_to_watch
from stream_monitor.reference.feature_calibration import MIN_REST_VALUES
from stream_monitor.reference.feature_reference import OF_REST, FeatureReference
from stream_monitor.reference.fit import MIN_EVENTS
from stream_monitor.reference.profile import ReferenceProfile
from stream_monitor.reference.season import DAY_MS
from stream_monitor.statistics.fixed_point import Floats

_BLOCKS: Final = 20
_LEAST_BLOCKS: Final = 3
_MIN_T: Final = 10.0
_MIN_SHIFT: Final = 0.5
_TAILS: Final = (1, 99)


class LevelChange(NamedTuple):
    """A change of a column's mean from ``before`` to ``after`` at ``row``."""

    row: int
    before: float
    after: float

    def describe(self) -> str:
        """The change and its remedy as a sentence.

        >>> LevelChange(400, 14.13, 74.2).describe()
        'the reference itself changes at row 400, mean 14.1 → 74.2: a change inside it is not \
found later; build it from the rows before, or after'
        """
        return (
            f"the reference itself changes at row {self.row:,}, mean {self.before:.3g} → "
            f"{self.after:.3g}: a change inside it is not found later; build it from the rows "
            "before, or after"
        )


def change_within(values: Floats) -> LevelChange | None:
    """The lasting change of level in the values (n,) of a column; ``None`` without one.

    The means of 20 blocks show how much the level varies normally, so that dependence and seasons
    shorter than a block are no change.  A change is at least half a standard deviation, and ten
    standard errors of the two levels.

    >>> steady = np.random.default_rng(1).normal(size=600)
    >>> change_within(steady) is None, change_within(steady + 4 * (np.arange(600) >= 400)).row
    (True, 400)
    """
    rows = np.flatnonzero(np.isfinite(values))
    n = len(rows)
    if n < MIN_EVENTS:
        return None
    known = values[rows]
    level = np.clip(known, *np.percentile(known, _TAILS))
    level /= np.abs(level).max() or 1.0  # squares of 1e-200 are 0, and of 1e200 infinite
    split = _split(np.array([block.mean() for block in np.array_split(level, _BLOCKS)]))
    if split is None:
        return None
    first, last = n * (split - 1) // _BLOCKS, min(n * (split + 2) // _BLOCKS, n - 1)
    counts = np.arange(1, n)
    sums = np.abs(np.cumsum(level - level.mean())[:-1]) / np.sqrt(counts * (n - counts))
    at = first + int(np.argmax(sums[first:last])) + 1
    if abs(level[at:].mean() - level[:at].mean()) < _MIN_SHIFT * _sd_within(level, at):
        return None
    return LevelChange(int(rows[at]), float(known[:at].mean()), float(known[at:].mean()))


def _split(means: Floats) -> int | None:
    """The block in which the level changes; it may contain values of both levels."""
    best, found = _MIN_T, None
    for split in range(_LEAST_BLOCKS, len(means) - _LEAST_BLOCKS):
        left, right = means[:split], means[split + 1 :]
        squares = ((left - left.mean()) ** 2).sum() + ((right - right.mean()) ** 2).sum()
        variance = squares / (len(left) + len(right) - 2)
        error = np.sqrt(variance * (1 / len(left) + 1 / len(right)))
        shift = abs(right.mean() - left.mean())
        if shift > best * error:
            best, found = (shift / error if error else np.inf), split
    return found


def _sd_within(level: Floats, at: int) -> float:
    return float(
        np.sqrt((level[:at].var() * at + level[at:].var() * (len(level) - at)) / len(level))
    )


_UNBOUNDED: Final = 1e300
_MIN_INDEPENDENT: Final = 10
_REPEATS_NOT_WATCHED: Final = (
    "new repeated values are not watched: the profile was built without them, build it again"
)
_RANGE_NOT_WATCHED: Final = "the range is not watched: the profile has none"


class DetectedSeason(msgspec.Struct, frozen=True, kw_only=True):
    """A season of a feature by the hour of the day or week (``period``), from ``n_periods``.

    ``explains`` is its share of the variance of the feature's ranks.  ``costs`` is the increase of
    the smallest detectable shift, because the season is only known from ``n_periods``.
    """

    period: str
    n_periods: float
    explains: float
    costs: float

    def describe(self) -> str:
        """The season as a sentence.

        >>> DetectedSeason(period="day", n_periods=10.0, explains=0.334, costs=0.0488).describe()
        'season by the hour of the day, from 10.0 days: it explains 33 % of the variance, and its \
uncertainty makes the smallest detectable shift 5 % larger'
        """
        return (
            f"season by the hour of the {self.period}, from {self.n_periods:.1f} {self.period}s: "
            f"it explains {100 * self.explains:.0f} % of the variance, and its uncertainty makes "
            f"the smallest detectable shift {100 * self.costs:.0f} % larger"
        )


def season_of(reference: FeatureReference) -> DetectedSeason | None:
    """The season of a feature, from the channel that it explains best; ``None`` without one."""
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
    """The seasons of a profile, by feature."""
    found = {name: season_of(reference) for name, reference in profile.features.items()}
    return {name: season for name, season in found.items() if season is not None}


def not_watched_by_feature(profile: ReferenceProfile) -> dict[str, list[str]]:
    """The parts of each feature that are not watched, with the reasons."""
    found = {name: _of_reference(reference) for name, reference in profile.features.items()}
    return {name: lines for name, lines in found.items() if lines}


def lines_of(profile: ReferenceProfile) -> list[str]:
    """The seasons, the dependence and the parts that are not watched, as text."""
    lines = [f"{name}: {season.describe()}" for name, season in seasons_of(profile).items()]
    return [*lines, *dependence_lines(profile)] + [
        f"{name}: {why}" for name, all_ in not_watched_by_feature(profile).items() for why in all_
    ]


def dependence_lines(profile: ReferenceProfile) -> list[str]:
    """The features whose rows depend on each other so much that the reference proves little."""
    return [
        f"{name}: the rows of the reference depend on each other over {one.tau:,.0f} rows, as with "
        f"a trend or sorted rows: {one.n_events:,} of them prove as little as "
        f"{one.n_events / one.tau:.0f} independent ones, and only large changes are found"
        for name, one in profile.features.items()
        if one.n_events < _MIN_INDEPENDENT * one.tau
    ]


def not_watched_values(values: Floats) -> list[str]:
    """The values (n,) of a number that a reference built from them could not watch separately.

    Empty if there are too few values for a reference.

    >>> not_watched_values(np.append(np.zeros(9_950), np.arange(1.0, 51.0)))
    ['values other than 0 are not watched separately: there are 50, and 100 are needed']
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
        f"values other than {value:g} are not watched separately: there are {n_rest}, and "
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
        f"no value is reported as too {side}, because the tail gives no limit "
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
