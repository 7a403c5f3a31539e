"""A model as a page: features, errors, predictions, correlations, segments and decisions.  Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from driftline.dashboard.charts import (
    Chart,
    Line,
    all_version_marks,
    episode_bands,
    error_chart,
    rate_chart,
    with_gaps,
)
from driftline.dashboard.feature_view import FeatureView, feature_views
from driftline.dashboard.incident_view import alerts_by_episode
from driftline.dashboard.model_row import ModelRow, model_row
from driftline.dashboard.model_state import ModelState
from driftline.dashboard.observation import Observation
from driftline.dashboard.observer import ModelDetail
from driftline.dashboard.pictures import Distribution, distribution
from driftline.dashboard.recent_values import NONE_RECENT, RecentValues
from driftline.dashboard.retrain_view import RetrainJob, retrain_jobs
from driftline.dashboard.window_series import (
    FeatureBucket,
    bucket_ms,
    error_buckets,
    event_counts,
    span_of,
)
from driftline.dashboard.window_store import VersionWindows
from driftline.monitor_state.coverage_report import ModelCoverage
from stream_monitor.checks.correlation import correlation_key
from stream_monitor.contracts import DriftAlert
from stream_monitor.reference.correlation_reference import CorrelationReference
from stream_monitor.reference.profile import ReferenceProfile
from stream_monitor.windows.drift_level import DriftLimits

MAX_CHARTS: Final = 9
"""The features that a page shows with charts; the others are rows of a table."""
MEDIUM_EFFECT: Final = 0.1
HIGH_EFFECT: Final = 0.25


class FeatureCharts(msgspec.Struct, frozen=True, kw_only=True):
    """A feature with its drift over time."""

    view: FeatureView
    drift: Chart | None
    mean: Chart | None
    correlations: list[str]


class PredictionView(msgspec.Struct, frozen=True, kw_only=True):
    """The reference of the predictions against the newest ones, where those could be read."""

    shape: Distribution
    fresh: FeatureBucket | None
    episodes: list[DriftAlert]


class CorrelationRow(msgspec.Struct, frozen=True, kw_only=True):
    """A watched pair of features: its reference, and the open episode if there is one."""

    first: str
    second: str
    correlation: float
    n: int
    episode: DriftAlert | None = None


class SegmentRow(msgspec.Struct, frozen=True, kw_only=True):
    """A declared segment: its share of the reference, and its open episodes."""

    name: str
    share: float
    n: int
    episodes: list[DriftAlert]


class VersionRow(msgspec.Struct, frozen=True, kw_only=True):
    """A version of the model: reference, windows, and the error that labels showed."""

    version: str
    role: str
    n_reference: int
    origin: str
    first_ms: int
    last_ms: int
    n_events: int
    n_labelled: int
    realised: float | None
    estimated: float | None


class ModelView(msgspec.Struct, frozen=True, kw_only=True):
    """The page of one model."""

    row: ModelRow
    shown_version: str | None
    profile: ReferenceProfile | None
    coverage: ModelCoverage | None
    warming_up: list[str]
    errors: Chart | None
    rate: Chart | None
    bucket_ms: int
    n_windows: int
    n_labelled: int
    prediction: PredictionView | None
    features: list[FeatureCharts]
    more_features: list[FeatureView]
    n_features: int
    correlations: list[CorrelationRow]
    segments: list[SegmentRow]
    versions: list[VersionRow]
    jobs: list[RetrainJob]
    other_episodes: list[DriftAlert]


def model_view(
    state: ModelState,
    seen: Observation,
    detail: ModelDetail,
    warming_up: Sequence[str],
    *,
    limits: DriftLimits,
    feature: str = "",
    recent: RecentValues = NONE_RECENT,
) -> ModelView:
    """The page of the model of ``state``; ``feature`` comes first.

    ``limits`` are those of the levels of the latest window.  ``recent`` are the newest events of
    the version that is shown.
    """
    name = state.model
    row = model_row(state, seen, detail)
    served = [each for each in detail.windows if not each.shadow]
    windows = [window for each in served for window in each.windows]
    first, last, size = span_of(windows)
    step = bucket_ms(first, last, size)
    marks = all_version_marks(seen, name)
    performance = [figures for each in served for figures in each.performance]
    shown_version = detail.shown_version(row.champion)
    profile = detail.reference_of(shown_version)
    views = feature_views(name, seen, detail, limits, recent.features)
    views.sort(key=lambda view: view.name != feature)
    episodes = [a for a in alerts_by_episode(seen.alerts).values() if a[0].model == name]
    shown = {view.name for view in views}
    return ModelView(
        row=row,
        shown_version=shown_version,
        profile=profile,
        coverage=next((one for one in seen.coverage if one.model == name), None),
        warming_up=list(warming_up),
        errors=error_chart(error_buckets(windows, performance, step), step, marks),
        rate=rate_chart(event_counts(windows, step), step, marks),
        bucket_ms=step,
        n_windows=len(windows),
        n_labelled=sum(figures.n_labelled for figures in performance),
        prediction=_prediction(profile, recent.prediction, state),
        features=[_charts(view, episodes, profile) for view in views[:MAX_CHARTS]],
        more_features=views[MAX_CHARTS:],
        n_features=len(views),
        correlations=_correlations(profile, state),
        segments=_segments(profile, state),
        versions=_versions(detail, row.champion, row.challenger),
        jobs=retrain_jobs(seen.retrains, name),
        other_episodes=[
            alert
            for alert in state.open_episodes
            if alert.feature not in shown or alert.version != shown_version
        ],
    )


def _prediction(
    profile: ReferenceProfile | None, fresh: FeatureBucket | None, state: ModelState
) -> PredictionView | None:
    if profile is None or profile.prediction is None:
        return None
    shape = distribution(profile.prediction, fresh)
    episodes = [a for a in state.open_episodes if a.kind == "prediction"]
    return None if shape is None else PredictionView(shape=shape, fresh=fresh, episodes=episodes)


def _charts(
    view: FeatureView, episodes: Sequence[Sequence[DriftAlert]], profile: ReferenceProfile | None
) -> FeatureCharts:
    mine = [
        a
        for a in episodes
        if a[0].feature == view.name and a[0].version == view.version and a[0].segment is None
    ]
    bands, marks = episode_bands(mine, view.fresh_to_ms)
    x, effects = with_gaps({p.start_ms: p.effect for p in view.points}, view.bucket_ms)
    drift = None
    if len(x) > 1:
        line = Line(label="Effect", kind="after", y=effects, fill=True)
        _, indices = with_gaps({p.start_ms: p.psi for p in view.points}, view.bucket_ms)
        plain = Line(label="PSI, not adjusted", kind="muted", y=indices, thin=True)
        drift = Chart(
            x=x,
            series=[line, plain],
            marks=marks,
            bands=bands,
            height=120,
            legend=False,
            top=0.28,
            limits={"medium": MEDIUM_EFFECT, "high": HIGH_EFFECT},
        )
    mean = None
    _, means = with_gaps({p.start_ms: p.mean for p in view.points}, view.bucket_ms)
    if view.usual_mean is not None and len(x) > 1:
        mean = Chart(
            x=x,
            series=[Line(label="Mean", kind="after", y=means)],
            limits={"before": view.usual_mean},
            bands=bands,
            height=110,
            legend=False,
            zero=False,
        )
    pairs = _pairs(profile)
    correlations = [
        f"{pair.second if pair.first == view.name else pair.first} {pair.correlation:+.2f}"
        for pair in pairs
        if view.name in (pair.first, pair.second)
    ]
    return FeatureCharts(view=view, drift=drift, mean=mean, correlations=correlations)


def _pairs(profile: ReferenceProfile | None) -> Sequence[CorrelationReference]:
    """The pairs of features that are watched, the strongest first."""
    return () if profile is None else profile.correlations


def _correlations(profile: ReferenceProfile | None, state: ModelState) -> list[CorrelationRow]:
    if profile is None:
        return []
    opened = {a.series: a for a in state.open_episodes if a.version == profile.version}
    return [
        CorrelationRow(
            first=pair.first,
            second=pair.second,
            correlation=pair.correlation,
            n=pair.n_events,
            episode=opened.get(correlation_key(pair.name)),
        )
        for pair in _pairs(profile)
    ]


def _segments(profile: ReferenceProfile | None, state: ModelState) -> list[SegmentRow]:
    if profile is None:
        return []
    return [
        SegmentRow(
            name=segment.name,
            share=segment.share,
            n=round(segment.share * profile.n_events),
            episodes=[a for a in state.open_episodes if a.segment == segment.name],
        )
        for segment in profile.segments
    ]


def _versions(
    detail: ModelDetail, champion: str | None, challenger: str | None
) -> list[VersionRow]:
    by_version = {(each.version, each.shadow): each for each in detail.windows}
    names = [*detail.profiles, *(v for v, _ in by_version if v not in detail.profiles)]
    rows = []
    for version in dict.fromkeys(names):
        for shadow in (False, True):
            found = by_version.get((version, shadow))
            if found is None and (shadow or version not in detail.profiles):
                continue
            role = "champion" if version == champion else "earlier"
            if version == challenger:
                role = "challenger"
            rows.append(_version(version, f"{role}, shadow" if shadow else role, detail, found))
    return rows


def _version(
    version: str, role: str, detail: ModelDetail, found: VersionWindows | None
) -> VersionRow:
    profile = detail.profiles.get(version)
    windows = () if found is None else found.windows
    performance = () if found is None else found.performance
    first, last, _ = span_of(windows)
    n_labelled = sum(figures.n_labelled for figures in performance)
    estimates = [(w.n_estimated, w.estimated_loss) for w in windows if w.estimated_loss is not None]
    n_estimated = sum(n for n, _ in estimates)
    lost = sum(figures.n_labelled * figures.loss for figures in performance)
    expected = sum(n * loss for n, loss in estimates)
    return VersionRow(
        version=version,
        role=role,
        n_reference=0 if profile is None else profile.n_events,
        origin="none" if profile is None else profile.origin.replace("_", "-"),
        first_ms=first,
        last_ms=last,
        n_events=sum(window.n_events for window in windows),
        n_labelled=n_labelled,
        realised=lost / n_labelled if n_labelled else None,
        estimated=expected / n_estimated if n_estimated else None,
    )
