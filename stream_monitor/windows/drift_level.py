"""The level of drift of each signal in closed windows: PSI, chi-square, warning, critical.  Pure.

A level is about many events: the population stability index (PSI) of few events is large by chance,
so levels follow from the ``effect``, the index without the bias of few events.  An index of a
single event has no meaning.  Levels are a report; alerts follow from episodes, which hold a budget
of false alarms.

Source: the limits 0.2 and 0.5 are those of common practice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

import msgspec

from stream_monitor.reference.feature_reference import FeatureReference
from stream_monitor.reference.transform import bin_positions
from stream_monitor.statistics.bin_comparison import compare_bins
from stream_monitor.statistics.distance import rounded_effect
from stream_monitor.windows.closed_window import ClosedFeature, ClosedWindow

DriftLevel: TypeAlias = Literal["none", "warning", "critical"]
LEVELS: Final[tuple[DriftLevel, ...]] = ("none", "warning", "critical")
"""The levels, each worse than the one before it."""


class DriftLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The effects (adjusted PSI) from which a signal is at a level.

    Raises:
        ValueError: ``critical`` is below ``warning``, or ``warning`` is not above 0.
    """

    warning: float = 0.2
    critical: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.warning <= self.critical:
            raise ValueError("0 < warning <= critical must hold")

    def level_of(self, effect: float) -> DriftLevel:
        """The level of an effect.

        >>> [DriftLimits().level_of(effect) for effect in (0.1, 0.2, 0.5)]
        ['none', 'warning', 'critical']
        """
        if effect >= self.critical:
            return "critical"
        return "warning" if effect >= self.warning else "none"


class SeriesDrift(NamedTuple):
    """The difference between the valid values of one signal and its reference.

    ``psi`` is the plain index, ``effect`` the one without the bias of few events, at least 0.
    ``chi_square`` and ``chi_square_p`` are those of the two-sample test.
    """

    series: str
    n_values: int
    psi: float
    effect: float
    chi_square: float
    chi_square_p: float
    level: DriftLevel


def drift_of_window(window: ClosedWindow, limits: DriftLimits) -> list[SeriesDrift]:
    """Each signal of one closed window with a valid value, by name."""
    return [
        _of_feature(name, feature, limits)
        for name, feature in sorted(window.features.items())
        if feature.count
    ]


def _of_feature(name: str, feature: ClosedFeature, limits: DriftLimits) -> SeriesDrift:
    return SeriesDrift(
        series=name,
        n_values=feature.count,
        psi=feature.psi,
        effect=feature.effect,
        chi_square=feature.chi_square,
        chi_square_p=feature.chi_square_p,
        level=limits.level_of(feature.effect),
    )


def drift_of_windows(
    windows: Sequence[ClosedWindow], references: Mapping[str, FeatureReference], limits: DriftLimits
) -> list[SeriesDrift]:
    """Each signal of several windows of one version, of any times and partitions, as one sample.

    Bins are added.  A reference with a season is weighted as the windows are, so that a sample of
    nights is compared with nights.  ``references`` are the features of the version's profile.
    """
    names = sorted({name for window in windows for name in window.features} & references.keys())
    found = []
    for name in names:
        parts = [(w, w.features[name]) for w in windows if name in w.features]
        parts = [(w, f) for w, f in parts if f.count]
        if not parts:
            continue
        reference = references[name]
        bins = [sum(column) for column in zip(*(f.bins for _, f in parts), strict=True)]
        usual, tau = _usual(reference, parts)
        compared = compare_bins(
            bins, usual, tau, positions=bin_positions(reference), n_features=len(names)
        )
        effect = rounded_effect(compared.effect, 12)
        found.append(
            SeriesDrift(
                series=name,
                n_values=sum(bins),
                psi=compared.psi,
                effect=effect,
                chi_square=compared.chi_square,
                chi_square_p=compared.chi_square_p,
                level=limits.level_of(effect),
            )
        )
    return found


def _usual(
    reference: FeatureReference, parts: Sequence[tuple[ClosedWindow, ClosedFeature]]
) -> tuple[list[int], float]:
    """The bins of the reference at the times of the windows, and its autocorrelation time."""
    calendar = reference.calendar
    if calendar is None:
        return list(reference.bin_counts), reference.tau
    by_window = [
        (calendar.expected(calendar.between(w.start_ms, w.end_ms)), f.count) for w, f in parts
    ]
    n_values = sum(count for _, count in by_window)
    n_reference = sum(sum(bins) * count for bins, count in by_window) / n_values
    shares = [
        [count / n_values * each / max(1, sum(bins)) for each in bins] for bins, count in by_window
    ]
    return [round(n_reference * sum(column)) for column in zip(*shares, strict=True)], calendar.tau
