"""The report of a live model: what changed in a time range, what was decided, what was watched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from driftline.dashboard.charts import Chart
from driftline.dashboard.feature_view import FeatureView
from driftline.dashboard.incident_view import CAUSE_LABELS, alerts_by_episode, last_drift
from driftline.dashboard.model_view import HIGH_EFFECT, MEDIUM_EFFECT, ModelView, model_view
from driftline.dashboard.observation import Observation
from driftline.dashboard.observer import ModelDetail, Observer
from driftline.dashboard.page_templates import shown_time
from driftline.dashboard.pictures import histogram
from driftline.dashboard.read_model import ReadModel
from driftline.dashboard.retrain_view import RetrainJob
from driftline.monitor_state.coverage_report import reasons_of
from driftline.report.document import Document, Facts, Finding, FindingTable, Level, Picture
from driftline.report.line_picture import line_picture
from driftline.report.replay_document import settings_rows
from driftline.topics.alert_history import open_alerts
from stream_monitor.contracts import ENDED_PHASES, SEVERITY_RANK, DriftAlert
from stream_monitor.episodes.formatting import (
    format_change,
    format_count,
    format_number,
    format_percent,
)
from stream_monitor.episodes.incidents import Incident

if TYPE_CHECKING:
    from stream_monitor.settings import Settings

_LEVELS: Final[tuple[Level, ...]] = ("ok", "low", "medium", "high")
_JOB_LEVELS: Final[dict[str, Level]] = {
    "promoted": "ok",
    "failed": "high",
    "rejected": "medium",
    "proposed": "medium",
    "rolled_back": "medium",
}


def model_document(read: ReadModel, model: str, since_ms: int, made_ms: int) -> Document | None:
    """The report of a model over its last ``since_ms`` of event time; ``None`` if it is unknown.

    The range ends with the newest closed window or alert of the model.
    """
    seen = read.observer.current
    state = next((one for one in read.states(seen) if one.model == model), None)
    if state is None:
        return None
    detail = read.observer.detail(model)
    until_ms = _newest_ms(model, seen, detail) or made_ms
    start_ms = until_ms - since_ms
    incidents = [
        one
        for one in read.incidents(seen)
        if one.model == model and (one.closed_ms is None or one.closed_ms >= start_ms)
    ]
    kept, recent = _since(start_ms, model, seen, detail)
    view = model_view(
        state,
        kept,
        recent,
        read.observer.warming_up(model),
        limits=read.settings.drift_limits(),
        recent=read.recent_of_shown(model, recent),
    )
    return Document(
        title=f"Model: {model}",
        compared=_compared(view, start_ms, until_ms),
        level=_LEVELS[state.rank],
        result=_result(view, incidents),
        tables=[
            FindingTable(
                "What changed",
                ("Signal", "Version", "Since", "Ended", "Likely cause"),
                _episodes(alerts_by_episode(kept.alerts), incidents),
                "No episode in this range.",
            ),
            FindingTable(
                "What was decided",
                ("Time", "Version", "Challenger"),
                [_decision(job) for job in view.jobs],
                "No decision of the trainer in this range.",
            ),
            FindingTable(
                "Features",
                ("Feature", "PSI", "Mean", "Missing or invalid"),
                [_feature(one) for one in _features(view)],
                "The version in service has no reference yet.",
            ),
        ],
        pictures=_pictures(view),
        facts=[
            Facts("Coverage of the last hour", _coverage(view), "No coverage was reported."),
            Facts("Not watched", _not_watched(view), "Every feature is watched."),
            Facts("Settings", settings_rows(read.settings.monitor_spec(), None), ""),
            Facts(
                "Records that could not be read",
                [(f"{i}", text) for i, text in enumerate(seen.skipped, 1)],
                "Every record of the topics could be read.",
            ),
        ],
        made_ms=made_ms,
    )


def _newest_ms(model: str, seen: Observation, detail: ModelDetail) -> int | None:
    ends = [each.windows[-1].end_ms for each in detail.windows if each.windows]
    decided = [alert.decided_ms for alert in seen.alerts if alert.model == model]
    return max([*ends, *decided], default=None)


def _since(
    start_ms: int, model: str, seen: Observation, detail: ModelDetail
) -> tuple[Observation, ModelDetail]:
    """The windows that end in the range, and the episodes and retrains that reach into it."""
    opened = {alert.episode_id for alert in open_alerts(seen.alerts)}
    alerts = [
        alert
        for episode_id, found in alerts_by_episode(seen.alerts).items()
        if found[0].model == model and (episode_id in opened or found[-1].decided_ms >= start_ms)
        for alert in found
    ]
    ids = {alert.episode_id for alert in alerts}
    jobs = {
        event.job_id
        for event in seen.retrains
        if event.time_ms >= start_ms or event.episode_id in ids
    }
    kept = msgspec.structs.replace(
        seen, alerts=alerts, retrains=[event for event in seen.retrains if event.job_id in jobs]
    )
    windows = [
        each._replace(
            windows=[window for window in each.windows if window.end_ms > start_ms],
            performance=[one for one in each.performance if one.end_ms > start_ms],
        )
        for each in detail.windows
    ]
    return kept, detail._replace(windows=windows)


def _compared(view: ModelView, start_ms: int, until_ms: int) -> list[tuple[str, str]]:
    profile = view.profile
    reference = "none yet"
    if profile is not None:
        origin = profile.origin.replace("_", "-")
        reference = f"{format_count(profile.n_events, 'event')}, from {origin}"
    n_events = sum(row.n_events for row in view.versions)
    windows = format_count(view.n_windows, "closed window")
    first_ms = min((row.first_ms for row in view.versions if row.n_events), default=0)
    since = f", the first from {shown_time(first_ms)}" if first_ms else ""
    return [
        ("Range", f"{shown_time(start_ms)} to {shown_time(until_ms)}, event time"),
        ("Events", f"{n_events:,} in {windows}{since}; {format_count(view.n_labelled, 'label')}"),
        ("Version", view.shown_version or "none"),
        ("Reference", reference),
    ]


def _result(view: ModelView, incidents: Sequence[Incident]) -> str:
    n_open = sum(one.closed_ms is None for one in incidents)
    share = view.coverage.share if view.coverage is not None else None
    watched = (
        "No event in the last hour"
        if share is None
        else f"{format_percent(share)} of the events of the last hour were watched"
    )
    return (
        f"{view.row.status.label}: {format_count(len(incidents), 'incident')} in this range, "
        f"{n_open:,} open; {format_count(len(view.jobs), 'decision')} of the trainer. {watched}."
    )


def _episodes(
    alerts_of: Mapping[str, Sequence[DriftAlert]], incidents: Sequence[Incident]
) -> list[Finding]:
    """Every episode, the newest first; single ones of low severity belong to no incident."""
    causes = {
        member.episode_id: CAUSE_LABELS[incident.causes[0].name] if incident.causes else "Unknown"
        for incident in incidents
        for member in incident.members
    }
    rows = []
    for alerts in sorted(alerts_of.values(), key=lambda found: -found[0].onset_ms):
        first, shown = alerts[0], last_drift(alerts)
        ended = next((a.decided_ms for a in alerts if a.phase in ENDED_PHASES), None)
        name = first.feature or first.series
        cells = (
            name if first.segment is None else f"{name} of {first.segment}",
            first.version,
            shown_time(first.onset_ms),
            "open" if ended is None else shown_time(ended),
            causes.get(first.episode_id, "in no incident"),
        )
        level = _LEVELS[SEVERITY_RANK[shown.severity]]
        rows.append(Finding(level, shown.severity, cells, shown.explanation))
    return rows


def _decision(job: RetrainJob) -> Finding:
    return Finding(
        level=_JOB_LEVELS.get(job.state, "gone"),
        label=job.label,
        cells=(shown_time(job.time_ms), job.champion, job.challenger or ""),
        sentence=f"{job.rule}: {job.reason}" if job.state == "declined" else job.reason,
    )


def _features(view: ModelView) -> list[FeatureView]:
    return [*(each.view for each in view.features), *view.more_features]


def _feature(one: FeatureView) -> Finding:
    worst = max(
        (alert.severity for alert in one.episodes), key=SEVERITY_RANK.__getitem__, default=None
    )
    mean = "" if one.usual_mean is None else format_change(one.usual_mean, one.mean)
    return Finding(
        level="ok" if worst is None else _LEVELS[SEVERITY_RANK[worst]],
        label="ok" if worst is None else worst,
        cells=(
            one.name,
            format_number(one.effect),
            mean,
            f"{format_percent(one.invalid_reference)} → {format_percent(one.invalid)}",
        ),
        sentence=(
            f"The last {format_count(one.n, 'value')} in {format_count(one.windows_n, 'window')}, "
            f"{one.windows_drifted:,} of them with drift."
            if one.windows_n
            else f"The newest {format_count(one.n, 'value')}; no window has closed yet."
        ),
    )


def _pictures(view: ModelView) -> list[Picture]:
    errors = view.errors
    estimated = errors is not None and any(line.dash for line in errors.series)
    dashed = "dashed: estimated without labels" if estimated else ""
    found: list[Picture | None] = [
        _line("Error", errors, "realised from labels", dashed),
        _line("Events in each bucket", view.rate, "events", ""),
    ]
    prediction = view.prediction
    if prediction is not None and prediction.fresh is not None:
        shape = prediction.shape
        found.append(
            Picture(
                "Prediction",
                histogram(shape),
                before=f"reference, n {shape.n_before:,}",
                after=f"newest predictions, n {shape.n_after:,}",
            )
        )
    limits = f"dotted: {MEDIUM_EFFECT:g} and {HIGH_EFFECT:g}; grey: plain index; shaded: episodes"
    for each in view.features:
        found += [
            *_histograms([each.view]),
            _line(f"{each.view.name}: PSI", each.drift, "without bias", limits),
        ]
    found += _histograms(view.more_features)
    return [picture for picture in found if picture is not None and picture.svg]


def _histograms(features: Sequence[FeatureView]) -> list[Picture]:
    return [
        Picture(
            one.name,
            histogram(one.shape),
            before=f"reference, n {one.shape.n_before:,}",
            after=f"{'last windows' if one.windows_n else 'newest events'}, "
            f"n {one.shape.n_after:,}",
        )
        for one in features
        if one.shape is not None
    ]


def _line(title: str, chart: Chart | None, after: str, note: str) -> Picture | None:
    if chart is None:
        return None
    return Picture(title, line_picture(chart, title), after=after, note=note)


def _coverage(view: ModelView) -> list[tuple[str, str]]:
    one = view.coverage
    if one is None:
        return []
    share = "no event" if one.share is None else format_percent(one.share)
    reasons = [("not watched", text) for text in reasons_of(one)]
    return [
        ("watched", f"{share}, {one.watched:,} of {format_count(one.events, 'event')}"),
        *reasons,
    ]


def _not_watched(view: ModelView) -> list[tuple[str, str]]:
    skipped = {} if view.profile is None else view.profile.skipped
    warming = [(f"version {one}", "warming up: it has no reference yet") for one in view.warming_up]
    return [*skipped.items(), *warming]


class ServerAway(ConnectionError):  # noqa: N818 - names what happened
    """Raised if a server does not answer: ``name`` is the server, ``why`` its error."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name} does not answer: {why}")
        self.name, self.why = name, why


def live_document(settings: Settings, model: str, since_ms: int, made_ms: int) -> Document | None:
    """The report of a model over its last ``since_ms``; ``None`` if the model is unknown.

    Raises:
        ServerAway: Kafka or Redis does not answer.
    """
    observer = Observer(settings)
    try:
        observer.observe()
        for server in observer.current.away():
            raise ServerAway(server.name, server.error)
        return model_document(ReadModel(observer, settings), model, since_ms, made_ms)
    finally:
        observer.close()
