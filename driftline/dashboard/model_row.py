"""A model as a row of the first screen: state, rate, drift, error, versions.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from driftline.dashboard.model_state import ModelState, worst_feature
from driftline.dashboard.observation import Observation
from driftline.dashboard.observer import ModelDetail
from driftline.dashboard.window_series import (
    bucket_ms,
    error_buckets,
    event_counts,
    feature_buckets,
    span_of,
)
from driftline.dashboard.window_store import VersionWindows
from stream_monitor.windows.closed_window import ClosedWindow
from trainer.contracts import RetrainEvent

SPARK_POINTS: Final = 40
_RECENT_WINDOWS: Final = 24
_UNDECIDED: Final = frozenset({"requested", "started", "succeeded", "proposed"})
_LABELLED: Final = 500
"""The error on a row is that of at least so many of the latest labels, where there are as many."""


class ErrorFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The error of a version: estimated and realised, on the latest windows that have them.

    ``labels_behind_ms`` is the time between the newest window and the newest one with a label.
    """

    estimated: float | None = None
    n_estimated: int = 0
    realised: float | None = None
    n_labelled: int = 0
    labels_behind_ms: int | None = None


class ModelRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the table of models.

    ``rate`` and ``drift`` are series over equal buckets of ``bucket_ms``, the last one ending at
    ``until_ms``; ``drift`` is the population stability index
    of ``top_feature``, not adjusted.  ``windows_n`` is their
    number of windows.
    """

    status: ModelState
    champion: str | None = None
    challenger: str | None = None
    challenger_step: str = ""
    rate: list[float] = []
    drift: list[float] = []
    bucket_ms: int = 0
    until_ms: int = 0
    windows_n: int = 0
    top_feature: str | None = None
    top_effect: float | None = None
    error: ErrorFigures = ErrorFigures()


def model_row(status: ModelState, seen: Observation, detail: ModelDetail) -> ModelRow:
    """The row of one model."""
    champion = seen.champion_of(status.model)
    windows = [w for each in detail.windows if not each.shadow for w in each.windows]
    first, last, size = span_of(windows)
    step = bucket_ms(first, last, size, SPARK_POINTS)
    counts = event_counts(windows, step)
    starts = range(first - first % step, last, step) if windows else range(0)
    of_champion = detail.windows_of(detail.shown_version(champion))
    top = worst_feature(status.open_episodes)
    name = None if top is None else top.feature or top.series
    feature = name if top is not None and top.feature else _largest_effect(of_champion.windows)
    drift: list[float] = []
    if feature is not None:
        drift = _effects(detail, feature, step, starts)
    challenger, challenger_step = challenger_of(seen.retrains, status.model, champion)
    return ModelRow(
        status=status,
        champion=champion,
        challenger=challenger,
        challenger_step=challenger_step,
        rate=[float(counts.get(start, 0)) for start in starts],
        drift=drift,
        bucket_ms=step,
        until_ms=last,
        windows_n=len(windows),
        top_feature=name or feature,
        top_effect=top.effect if top is not None else (drift[-1] if drift else None),
        error=error_figures(detail.windows),
    )


def _effects(detail: ModelDetail, feature: str, step: int, starts: Iterable[int]) -> list[float]:
    """The plain index of a feature by bucket, each version against its own reference."""
    effects: dict[int, float] = {}
    for each in detail.windows:
        if each.shadow:
            continue
        profile = detail.reference_of(each.version)
        reference = None if profile is None else profile.features.get(feature)
        for bucket in feature_buckets(each.windows, feature, reference, step):
            effects[bucket.start_ms] = max(bucket.psi, effects.get(bucket.start_ms, 0.0))
    return [effects.get(start, 0.0) for start in starts]


def _largest_effect(windows: Sequence[ClosedWindow]) -> str | None:
    """The feature with the largest mean effect in the latest windows, by its events."""
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    for window in windows[-_RECENT_WINDOWS:]:
        for name, feature in window.features.items():
            sums[name] = sums.get(name, 0.0) + feature.count * feature.effect
            counts[name] = counts.get(name, 0) + feature.count
    means = {name: total / counts[name] for name, total in sums.items() if counts[name]}
    return max(sorted(means), key=means.__getitem__, default=None)


def error_figures(versions: Iterable[VersionWindows]) -> ErrorFigures:
    """The error on the latest labelled predictions, and the one estimated for the latest windows.

    All versions that served count; shadow predictions do not.
    """
    served = [each for each in versions if not each.shadow]
    windows = [window for each in served for window in each.windows]
    if not windows:
        return ErrorFigures()
    _, _, size = span_of(windows)
    newest = max(window.start_ms for window in windows)
    buckets = error_buckets(windows, [x for each in served for x in each.performance], size)
    n_estimated, estimated, n_labelled, realised = 0, 0.0, 0, 0.0
    for bucket in reversed(buckets):
        if bucket.estimated is not None and n_estimated < _LABELLED:
            n_estimated += bucket.n_estimated
            estimated += bucket.n_estimated * bucket.estimated
        if bucket.realised is not None and n_labelled < _LABELLED:
            n_labelled += bucket.n_labelled
            realised += bucket.n_labelled * bucket.realised
    labelled = [bucket.start_ms for bucket in buckets if bucket.n_labelled]
    return ErrorFigures(
        estimated=estimated / n_estimated if n_estimated else None,
        n_estimated=n_estimated,
        realised=realised / n_labelled if n_labelled else None,
        n_labelled=n_labelled,
        labels_behind_ms=max(0, newest - max(labelled)) if labelled else None,
    )


def challenger_of(
    retrains: Iterable[RetrainEvent], model: str, champion: str | None
) -> tuple[str | None, str]:
    """The version that may replace the champion, and the last step of its job; else none.

    A retrain that is requested and not finished has no version yet.
    """
    last: dict[str, RetrainEvent] = {}
    for event in retrains:
        if event.model == model and event.step != "declined":
            last[event.job_id] = event
    waiting = [event for event in last.values() if event.step in _UNDECIDED]
    if not waiting:
        return None, ""
    newest = max(waiting, key=lambda event: event.time_ms)
    version = newest.challenger if newest.challenger != champion else None
    return version, newest.step
