"""Closed windows merged into a few buckets of time, for charts.  Pure.

Windows of several partitions, and consecutive windows, merge by adding counts and bins.  The latest
window is compared with the reference by PSI, chi-square and level.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from stream_monitor.reference.feature_reference import FeatureReference
from stream_monitor.reference.profile import ReferenceProfile
from stream_monitor.statistics.distance import distances, rounded_effect
from stream_monitor.windows.closed_window import ClosedFeature, ClosedWindow
from stream_monitor.windows.drift_level import (
    DriftLimits,
    SeriesDrift,
    drift_of_window,
    drift_of_windows,
)
from stream_monitor.windows.performance import WindowPerformance

MAX_BUCKETS: Final = 60
_HOUR_MS: Final = 3_600_000
_STEPS: Final = (1, 2, 3, 4, 6, 8, 12, 24, 48, 72, 96, 168)


class FeatureBucket(NamedTuple):
    """One feature in consecutive windows: ``n`` valid values, ``invalid`` ones, bins by reference.

    ``effect`` is the population stability index ``psi`` without the bias of few, dependent events;
    ``mean`` exists for numeric features.
    """

    start_ms: int
    end_ms: int
    n: int
    invalid: int
    bins: tuple[int, ...]
    effect: float
    psi: float
    mean: float | None


class ErrorBucket(NamedTuple):
    """The error of the predictions of consecutive windows: estimated, and realised from labels."""

    start_ms: int
    n_estimated: int
    estimated: float | None
    n_labelled: int
    realised: float | None


def bucket_ms(first_ms: int, last_ms: int, window_ms: int, at_most: int = MAX_BUCKETS) -> int:
    """The length of a bucket, a multiple of ``window_ms``, so that few cover the whole range.

    >>> bucket_ms(0, 24 * 3_600_000, 3_600_000), bucket_ms(0, 365 * 86_400_000, 3_600_000)
    (3600000, 604800000)
    """
    least = max(1, math.ceil((last_ms - first_ms) / at_most / window_ms))
    if window_ms == _HOUR_MS:
        least = next((step for step in _STEPS if step >= least), least)
    return least * window_ms


def span_of(windows: Sequence[ClosedWindow]) -> tuple[int, int, int]:
    """First start, last end and length (ms) of some windows; zeros without any."""
    if not windows:
        return 0, 0, _HOUR_MS
    first = min(window.start_ms for window in windows)
    last = max(window.end_ms for window in windows)
    return first, last, windows[0].end_ms - windows[0].start_ms


def feature_buckets(
    windows: Iterable[ClosedWindow], name: str, reference: FeatureReference | None, size_ms: int
) -> list[FeatureBucket]:
    """The buckets of a feature that have a value, ascending.

    Without a ``reference``, effect and index are means of those of the windows, by their events.
    """
    merged: dict[int, list[ClosedFeature]] = {}
    for window in windows:
        feature = window.features.get(name)
        if feature is not None:
            merged.setdefault(window.start_ms - window.start_ms % size_ms, []).append(feature)
    return [
        _bucket(start, start + size_ms, found, reference) for start, found in sorted(merged.items())
    ]


def merged_feature(
    windows: Iterable[ClosedWindow],
    name: str,
    reference: FeatureReference | None,
    start_ms: int,
    end_ms: int,
) -> FeatureBucket | None:
    """A feature in all windows that begin in [start_ms, end_ms); ``None`` without any."""
    found = [
        window.features[name]
        for window in windows
        if start_ms <= window.start_ms < end_ms and name in window.features
    ]
    return _bucket(start_ms, end_ms, found, reference) if found else None


def _bucket(
    start_ms: int, end_ms: int, found: Sequence[ClosedFeature], reference: FeatureReference | None
) -> FeatureBucket:
    n = sum(feature.count for feature in found)
    width = max(len(feature.bins) for feature in found)
    bins = [0] * width
    for feature in found:
        for i, count in enumerate(feature.bins):
            bins[i] += count
    means = [(f.count, f.mean) for f in found if f.mean is not None and f.count]
    total = sum(count for count, _ in means)
    mean = sum(count * value for count, value in means) / total if total else None
    if reference is not None and len(bins) == len(reference.bin_counts):
        effect, psi = _effect(bins, reference, start_ms, end_ms)
    else:
        effect = sum(f.count * f.effect for f in found) / n if n else 0.0
        psi = sum(f.count * f.psi for f in found) / n if n else 0.0
    return FeatureBucket(
        start_ms=start_ms,
        end_ms=end_ms,
        n=n,
        invalid=sum(feature.invalid for feature in found),
        bins=tuple(bins),
        effect=rounded_effect(effect),
        psi=rounded_effect(psi),
        mean=mean,
    )


def bucket_of_bins(
    reference: FeatureReference, bins: Sequence[int], *, n_invalid: int, start_ms: int, end_ms: int
) -> FeatureBucket:
    """Counts by bin of the reference as a bucket."""
    effect, psi = _effect(bins, reference, start_ms, end_ms)
    return FeatureBucket(
        start_ms=start_ms,
        end_ms=end_ms,
        n=sum(bins),
        invalid=n_invalid,
        bins=tuple(bins),
        effect=rounded_effect(effect),
        psi=rounded_effect(psi),
        mean=None,
    )


def usual_bins(reference: FeatureReference, start_ms: int, end_ms: int) -> list[int]:
    """The reference's bin counts; with a season, those of the same times of the day or week."""
    calendar = reference.calendar
    if calendar is None:
        return list(reference.bin_counts)
    return calendar.expected(calendar.between(start_ms, end_ms))


def _effect(
    bins: Sequence[int], reference: FeatureReference, start_ms: int, end_ms: int
) -> tuple[float, float]:
    """The adjusted index and the plain one."""
    calendar = reference.calendar
    tau = reference.tau if calendar is None else calendar.tau
    found = distances(bins, usual_bins(reference, start_ms, end_ms), tau)
    return found.effect, found.psi


def event_counts(windows: Iterable[ClosedWindow], size_ms: int) -> dict[int, int]:
    """The number of events by bucket."""
    counts: dict[int, int] = {}
    for window in windows:
        start = window.start_ms - window.start_ms % size_ms
        counts[start] = counts.get(start, 0) + window.n_events
    return dict(sorted(counts.items()))


def error_buckets(
    windows: Iterable[ClosedWindow], performance: Iterable[WindowPerformance], size_ms: int
) -> list[ErrorBucket]:
    """The error by bucket, ascending; buckets without an estimate and a label are left out."""
    estimated: dict[int, tuple[int, float]] = {}
    realised: dict[int, tuple[int, float]] = {}
    for window in windows:
        if window.estimated_loss is not None and window.n_estimated:
            _add(estimated, window.start_ms, size_ms, window.n_estimated, window.estimated_loss)
    for figures in performance:
        _add(realised, figures.start_ms, size_ms, figures.n_labelled, figures.loss)
    return [
        ErrorBucket(start, *_mean(estimated.get(start)), *_mean(realised.get(start)))
        for start in sorted(estimated.keys() | realised.keys())
    ]


def _add(
    sums: dict[int, tuple[int, float]], start_ms: int, size_ms: int, n: int, mean: float
) -> None:
    start = start_ms - start_ms % size_ms
    count, total = sums.get(start, (0, 0.0))
    sums[start] = count + n, total + n * mean


def _mean(counted: tuple[int, float] | None) -> tuple[int, float | None]:
    return (counted[0], counted[1] / counted[0]) if counted and counted[0] else (0, None)


def newest_windows(windows: Sequence[ClosedWindow]) -> list[ClosedWindow]:
    """The windows with the latest start: one of each partition that has closed it."""
    start_ms = max((window.start_ms for window in windows), default=0)
    return [window for window in windows if window.start_ms == start_ms]


def drift_of_latest(
    windows: Sequence[ClosedWindow], profile: ReferenceProfile | None, limits: DriftLimits
) -> list[SeriesDrift]:
    """Each signal in the latest window of one version, by name; partitions are one sample.

    A window of one partition has the figures that the monitor's metrics show.  A signal whose
    reference is unknown, or is not the one of its windows, has its largest drift of a partition.
    """
    newest = newest_windows(windows)
    found: dict[str, SeriesDrift] = {}
    for window in newest:
        for drift in drift_of_window(window, limits):
            known = found.get(drift.series)
            if known is None or drift.effect > known.effect:
                found[drift.series] = drift
    if len(newest) > 1 and profile is not None:
        references = profile.features
        width = {name: len(reference.bin_counts) for name, reference in references.items()}
        fitting = {
            name
            for name in found
            if all(
                len(window.features[name].bins) == width.get(name)
                for window in newest
                if name in window.features
            )
        }
        parts = [
            msgspec.structs.replace(
                window, features={k: v for k, v in window.features.items() if k in fitting}
            )
            for window in newest
        ]
        found |= {drift.series: drift for drift in drift_of_windows(parts, references, limits)}
    return [found[name] for name in sorted(found)]
