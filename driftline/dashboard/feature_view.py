"""Each feature of a model against its reference: distribution, drift, missing values.  Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from driftline.dashboard.observation import Observation
from driftline.dashboard.observer import ModelDetail
from driftline.dashboard.pictures import Distribution, distribution
from driftline.dashboard.window_series import (
    FeatureBucket,
    bucket_ms,
    drift_of_latest,
    feature_buckets,
    merged_feature,
    newest_windows,
    span_of,
)
from driftline.topics.alert_history import open_alerts
from stream_monitor.contracts import SEVERITY_RANK, DriftAlert
from stream_monitor.reference.feature_reference import FeatureReference
from stream_monitor.reference.profile import ReferenceProfile
from stream_monitor.windows.closed_window import ClosedWindow
from stream_monitor.windows.drift_level import DriftLevel, DriftLimits, SeriesDrift

_USUAL_LIMITS: Final = DriftLimits()
_NO_BUCKETS: Final[Mapping[str, FeatureBucket]] = {}
FRESH_EVENTS: Final = 1_000
"""The last windows are those that hold at least so many events."""


class DriftPoint(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A point of the drift of a feature; ``n`` are valid values."""

    start_ms: int
    n: int
    invalid: int
    effect: float
    psi: float
    mean: float | None


class LatestWindow(msgspec.Struct, frozen=True, kw_only=True):
    """A feature in the latest closed window, from all partitions: the figures of the metrics.

    ``psi`` is the plain index, ``effect`` the one without the bias of few events.  ``level``
    follows from ``effect`` and the limits of ``[psi]``.
    """

    start_ms: int
    end_ms: int
    n: int
    psi: float
    effect: float
    chi_square: float
    chi_square_p: float
    level: DriftLevel


class FeatureView(msgspec.Struct, frozen=True, kw_only=True):
    """A feature of the version in service against its reference.

    ``latest_window`` is ``None`` if the latest closed window has no valid value of the feature.
    ``shape`` compares the reference with the last ``windows_n`` windows, from ``fresh_from_ms`` to
    ``fresh_to_ms``, or while none has closed with the newest events; ``effect`` is the adjusted
    population stability index of these values.  ``points`` are
    buckets of ``bucket_ms``.  ``invalid_reference`` and ``invalid`` are shares of missing or
    invalid values, ``outside``: a fresh value is out of the reference's range.
    """

    name: str
    version: str
    kind: str
    importance: float
    n_reference: int
    reference: str
    shape: Distribution | None
    effect: float
    n: int
    fresh_from_ms: int
    fresh_to_ms: int
    usual_mean: float | None
    mean: float | None
    invalid_reference: float
    invalid: float
    reference_range: tuple[float, float] | None
    fresh_range: tuple[float, float] | None
    outside: bool
    windows_drifted: int
    windows_n: int
    bucket_ms: int
    points: list[DriftPoint]
    latest_window: LatestWindow | None = None
    episodes: list[DriftAlert] = []


def feature_views(
    model: str,
    seen: Observation,
    detail: ModelDetail,
    limits: DriftLimits = _USUAL_LIMITS,
    recent: Mapping[str, FeatureBucket] = _NO_BUCKETS,
) -> list[FeatureView]:
    """The features of the version in service: drifting ones first, then by effect.

    While that version has no closed window, those of the version before it.  ``limits`` are those
    of the levels of the latest window.  ``recent`` are the features of the newest events; they are
    shown where no window has closed.
    """
    version = detail.shown_version(seen.champion_of(model))
    profile = detail.reference_of(version)
    if profile is None or version is None:
        return []
    weights = profile.weights()
    opened: dict[str, list[DriftAlert]] = {}
    for alert in open_alerts(seen.alerts):
        if alert.model == model and alert.feature is not None and alert.version == version:
            opened.setdefault(alert.feature, []).append(alert)
    views = [
        _view(
            reference,
            profile,
            detail.windows_of(version).windows,
            weight=weights[name],
            episodes=opened.get(name, []),
            recent=recent.get(name),
        )
        for name, reference in profile.features.items()
    ]
    windows = detail.windows_of(version).windows
    drift = {one.series: one for one in drift_of_latest(windows, profile, limits)}
    views = [_with_latest(view, windows, drift.get(view.name)) for view in views]
    return sorted(views, key=_by_severity)


def _with_latest(
    view: FeatureView, windows: Sequence[ClosedWindow], drift: SeriesDrift | None
) -> FeatureView:
    if drift is None:
        return view
    window = newest_windows(windows)[0]
    latest = LatestWindow(
        start_ms=window.start_ms,
        end_ms=window.end_ms,
        n=drift.n_values,
        psi=drift.psi,
        effect=drift.effect,
        chi_square=drift.chi_square,
        chi_square_p=drift.chi_square_p,
        level=drift.level,
    )
    return msgspec.structs.replace(view, latest_window=latest)


def _by_severity(view: FeatureView) -> tuple[int, float, str]:
    worst = max((SEVERITY_RANK[alert.severity] for alert in view.episodes), default=0)
    return -worst, -view.effect, view.name


def _view(
    reference: FeatureReference,
    profile: ReferenceProfile,
    windows: Sequence[ClosedWindow],
    *,
    weight: float,
    episodes: Sequence[DriftAlert],
    recent: FeatureBucket | None,
) -> FeatureView:
    name, version, origin = reference.name, profile.version, profile.origin
    first, last, size = span_of(windows)
    step = bucket_ms(first, last, size)
    buckets = feature_buckets(windows, name, reference, step)
    since = _fresh_since(windows, name)
    fresh: FeatureBucket | None = merged_feature(windows, name, reference, since, last)
    if fresh is None and recent is not None:
        fresh, since, last = recent, recent.start_ms, recent.end_ms
    latest = [w.features[name] for w in windows if w.start_ms >= since and name in w.features]
    lows = [f.minimum for f in latest if f.minimum is not None]
    highs = [f.maximum for f in latest if f.maximum is not None]
    usual = None
    if reference.minimum is not None and reference.maximum is not None:
        usual = (reference.minimum, reference.maximum)
    observed = (min(lows), max(highs)) if lows and highs else None
    total = (fresh.n + fresh.invalid) if fresh is not None else 0
    return FeatureView(
        name=name,
        version=version,
        kind=reference.kind,
        importance=weight,
        n_reference=reference.n_events,
        reference=f"version {version}, from {origin.replace('_', '-')}",
        shape=distribution(reference, fresh),
        effect=0.0 if fresh is None else fresh.effect,
        n=0 if fresh is None else fresh.n,
        fresh_from_ms=since,
        fresh_to_ms=last,
        usual_mean=reference.mean,
        mean=None if fresh is None else fresh.mean,
        invalid_reference=reference.n_invalid / max(1, reference.n_events),
        invalid=fresh.invalid / total if fresh is not None and total else 0.0,
        reference_range=usual,
        fresh_range=observed,
        outside=bool(usual and observed and (observed[0] < usual[0] or observed[1] > usual[1])),
        windows_drifted=sum(f.drifted for f in latest),
        windows_n=len(latest),
        bucket_ms=step,
        points=[
            DriftPoint(
                start_ms=b.start_ms,
                n=b.n,
                invalid=b.invalid,
                effect=b.effect,
                psi=b.psi,
                mean=b.mean,
            )
            for b in buckets
        ],
        episodes=list(episodes),
    )


def _fresh_since(windows: Sequence[msgspec.Struct], name: str) -> int:
    """The start of the last windows that together hold `FRESH_EVENTS` values of a feature."""
    n = 0
    for window in reversed(windows):
        feature = getattr(window, "features", {}).get(name)
        n += feature.count if feature is not None else 0
        if n >= FRESH_EVENTS:
            return int(getattr(window, "start_ms", 0))
    return int(getattr(windows[0], "start_ms", 0)) if windows else 0
