"""An incident as a page: evidence, time axis, examples, decisions, commands.  Pure."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec
from markupsafe import Markup

from driftline.dashboard.charts import Chart, Line, all_version_marks, episode_bands, with_gaps
from driftline.dashboard.incident_view import CAUSE_LABELS, IncidentCard
from driftline.dashboard.model_view import HIGH_EFFECT
from driftline.dashboard.observation import Observation
from driftline.dashboard.observer import ModelDetail
from driftline.dashboard.pictures import AxisEvent, incident_axis
from driftline.dashboard.retrain_view import STEP_LABELS, RetrainJob, jobs_about
from driftline.dashboard.window_series import MAX_BUCKETS, bucket_ms, feature_buckets, span_of
from driftline.topics.events_around import EventAt, EventsAround
from stream_monitor.contracts import ENDED_PHASES, DriftAlert
from stream_monitor.episodes.causes import Member
from stream_monitor.episodes.incidents import Incident
from stream_monitor.windows.closed_window import ClosedWindow

_COLUMNS: Final = 12
_SHORT: Final = 12


class CauseRow(msgspec.Struct, frozen=True, kw_only=True):
    """A possible cause, its score from 0 to 1, and the evidence."""

    label: str
    score: float
    why: str


class EpisodeRow(msgspec.Struct, frozen=True, kw_only=True):
    """An episode of the incident with its latest alert and its progress towards recovery."""

    latest: DriftAlert
    name: str
    ended_ms: int | None
    recovered: int | None
    needed: int | None


class ExampleRow(msgspec.Struct, frozen=True, kw_only=True):
    """An event of the topic: its offset, time, prediction, and the values of the shown columns."""

    offset: int
    event_id: str
    time_ms: int
    prediction: str
    values: list[str]


class Examples(msgspec.Struct, frozen=True, kw_only=True):
    """Events before the onset, and before the detection; changed features come first."""

    columns: list[str]
    n_changed: int
    before: list[ExampleRow]
    after: list[ExampleRow]
    more_columns: int
    deleted: bool


class CommandRow(msgspec.Struct, frozen=True, kw_only=True):
    """A command to paste, and what it does."""

    does: str
    text: str


class IncidentView(msgspec.Struct, frozen=True, kw_only=True):
    """The page of one incident."""

    card: IncidentCard
    causes: list[CauseRow]
    axis: Markup
    drift: Chart | None
    mean: Chart | None
    drift_bucket_ms: int
    episodes: list[EpisodeRow]
    jobs: list[RetrainJob]
    answers: list[DriftAlert]
    commands: list[CommandRow]
    alert: DriftAlert
    trainer_runs: bool


def incident_view(
    card: IncidentCard,
    seen: Observation,
    alerts: Mapping[str, Sequence[DriftAlert]],
    detail: ModelDetail,
    jobs: Sequence[RetrainJob],
    complete: Callable[[str], str],
) -> IncidentView:
    """The page of the incident of ``card``.

    ``complete`` adds the options of the installation to a command.
    """
    incident = card.incident
    ids = [member.episode_id for member in incident.members]
    mine = {key: alerts[key] for key in ids if key in alerts}
    of_model = [job for job in jobs if job.model == incident.model]
    answers = [
        a for found in mine.values() for a in found if a.actor is not None and a.phase != "ongoing"
    ]
    until_ms = _latest_ms(seen, incident, detail)
    worst = alerts.get(card.worst.episode_id, ())
    drift, mean, step = _charts(card, worst, detail, seen, until_ms)
    return IncidentView(
        card=card,
        causes=[
            CauseRow(label=CAUSE_LABELS[cause.name], score=cause.score, why=cause.why)
            for cause in incident.causes
        ],
        axis=incident_axis(incident, _axis_events(seen, incident, of_model, answers), until_ms),
        drift=drift,
        mean=mean,
        drift_bucket_ms=step,
        episodes=[_episode(member.episode_id, member.name, mine) for member in incident.members
                  if member.episode_id in mine],
        jobs=jobs_about(of_model, ids),
        answers=sorted(answers, key=lambda alert: alert.decided_ms),
        commands=_commands(incident, complete),
        alert=mine[card.worst.episode_id][-1],
        trainer_runs=seen.trainer is not None,
    )  # fmt: skip


def _latest_ms(seen: Observation, incident: Incident, detail: ModelDetail) -> int:
    """The latest event time that is known of the model."""
    ends = [span_of(each.windows)[1] for each in detail.windows]
    times = [a.decided_ms for a in seen.alerts if a.model == incident.model]
    return max([*ends, *times, incident.opened_ms])


def _episode(episode_id: str, name: str, alerts: Mapping[str, Sequence[DriftAlert]]) -> EpisodeRow:
    found = alerts[episode_id]
    latest = found[-1]
    ended = next((a.decided_ms for a in found if a.phase in ENDED_PHASES), None)
    progress = next((a for a in reversed(found) if a.recovery_events is not None), None)
    return EpisodeRow(
        latest=latest,
        name=name,
        ended_ms=ended,
        recovered=None if progress is None else progress.recovery_events,
        needed=None if progress is None else progress.recovery_events_needed,
    )


def _axis_events(
    seen: Observation, incident: Incident, jobs: Sequence[RetrainJob], answers: Sequence[DriftAlert]
) -> list[AxisEvent]:
    events = [
        AxisEvent(one.time_ms, "version", f"version {one.version} put into service")
        for one in seen.versions
        if one.model == incident.model and one.promoted
    ]
    for job in jobs:
        for step in job.steps:
            kind = "version" if step.step in ("promoted", "rolled_back") else "retrain"
            of = f" version {step.challenger}" if step.challenger else ""
            events.append(AxisEvent(step.time_ms, kind, f"{STEP_LABELS[step.step]}{of}"))
    events += [
        AxisEvent(a.decided_ms, "person", f"{a.phase} by {a.actor}: {a.reason}") for a in answers
    ]
    return sorted(events)


def _charts(
    card: IncidentCard,
    found: Sequence[DriftAlert],
    detail: ModelDetail,
    seen: Observation,
    until_ms: int,
) -> tuple[Chart | None, Chart | None, int]:
    """Effect and mean of the worst feature around the episode, and the length of a bucket."""
    worst = card.worst
    profile = detail.reference_of(worst.version)
    reference = None if profile is None else profile.features.get(worst.feature or "")
    if reference is None:
        return None, None, 0
    windows = _around(detail.windows_of(worst.version).windows, worst, until_ms)
    first, last, size = span_of(windows)
    step = bucket_ms(first, last, size)
    buckets = feature_buckets(windows, reference.name, reference, step)
    if len(buckets) < 2:
        return None, None, 0
    bands, marks = episode_bands([found] if found else [], last)
    marks += all_version_marks(seen, card.incident.model)
    marks.sort(key=lambda mark: mark.at)
    x, effects = with_gaps({bucket.start_ms: bucket.effect for bucket in buckets}, step)
    _, indices = with_gaps({bucket.start_ms: bucket.psi for bucket in buckets}, step)
    drift = Chart(
        x=x,
        series=[
            Line(label="Effect", kind="after", y=effects, fill=True),
            Line(label="PSI, not adjusted", kind="muted", y=indices, thin=True),
        ],
        marks=marks,
        bands=bands,
        top=1.1 * HIGH_EFFECT,
        limits={"high": HIGH_EFFECT},
    )
    if found and found[0].channel == "validity":
        _, invalid = with_gaps({b.start_ms: b.invalid / (b.n + b.invalid) for b in buckets}, step)
        line = Line(label="Missing or invalid", kind="after", y=invalid, fill=True)
        shares = Chart(x=x, series=[line], unit="percent", marks=marks, bands=bands)
        return drift, shares, step
    if reference.mean is None:
        return drift, None, step
    _, means = with_gaps({bucket.start_ms: bucket.mean for bucket in buckets}, step)
    mean = Chart(
        x=x,
        series=[Line(label="Mean", kind="after", y=means)],
        marks=marks,
        bands=bands,
        zero=False,
        limits={"before": reference.mean},
    )
    return drift, mean, step


def _around(
    windows: Sequence[ClosedWindow], worst: Member, until_ms: int
) -> Sequence[ClosedWindow]:
    """The windows during an episode, and for as long before and after it."""
    if not windows:
        return windows
    size = windows[0].end_ms - windows[0].start_ms
    end_ms = worst.ended_ms or until_ms
    span = max(end_ms - worst.onset_ms, MAX_BUCKETS * size)
    low, high = worst.onset_ms - span, end_ms + span
    return [window for window in windows if low <= window.start_ms < high]


def _commands(incident: Incident, complete: Callable[[str], str]) -> list[CommandRow]:
    short = incident.incident_id[:_SHORT]
    model = shlex.quote(incident.model)
    rows = {
        "Let others know": f"driftline incidents acknowledge {short} --reason looking",
        "Suppress new alerts for two hours": f"driftline incidents snooze {short} --for 2h",
        "End its episodes": f"driftline incidents resolve {short}",
        "See the data that a retrain would use": f"driftline retrain {model} --dry-run",
        "See who changed what": f"driftline audit {model}",
    }
    return [CommandRow(does=does, text=complete(text)) for does, text in rows.items()]


def examples_of(onset: EventsAround, detection: EventsAround, changed: Sequence[str]) -> Examples:
    """Events before the onset, and before the detection, as rows with the same columns.

    The changed features come first, then the others by name.
    """
    before, after = onset.before, detection.before
    names = {name for each in (*before, *after) for name in each.event.features}
    first = [name for name in changed if name in names]
    columns = [*first, *sorted(names - set(first))]
    shown = columns[:_COLUMNS]
    return Examples(
        columns=shown,
        n_changed=len(first),
        before=[_example(each, shown) for each in before],
        after=[_example(each, shown) for each in after],
        more_columns=len(columns) - len(shown),
        deleted=onset.deleted,
    )


def _example(each: EventAt, columns: Sequence[str]) -> ExampleRow:
    features = each.event.features
    return ExampleRow(
        offset=each.offset,
        event_id=each.event.id,
        time_ms=each.event.time_ms,
        prediction=_text(each.event.prediction_or_none),
        values=[_text(features.get(name)) for name in columns],
    )


def _text(value: object) -> str:
    if value is None:
        return "missing"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
