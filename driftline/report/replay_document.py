"""The report of a replay: one row for each episode, with the values before and after."""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from driftline.dashboard.incident_view import alerts_by_episode
from driftline.dashboard.pictures import distribution, histogram
from driftline.dashboard.window_series import merged_feature
from driftline.offline.replay.replay_episodes import ReplayEpisode, ReplayResult, n_incidents
from driftline.offline.replay.replay_report import end_lines
from driftline.offline.replay.settings_comparison import SettingsComparison, setting_differences
from driftline.offline.replay.table_replay import replay
from driftline.offline.tables.event_times import with_times
from driftline.offline.tables.layout import Roles, layout_of, missing_column_error
from driftline.offline.tables.table_reader import table_of
from driftline.report import ReplayReport
from driftline.report.document import Document, Facts, Finding, FindingTable, Level, Picture, render
from stream_monitor.contracts import ENDED_PHASES, SEVERITY_RANK, DriftAlert
from stream_monitor.core.spec import MonitorSpec
from stream_monitor.episodes.formatting import format_count
from stream_monitor.episodes.incidents import IncidentPolicy
from stream_monitor.reference.profile import ReferenceProfile

if TYPE_CHECKING:
    import pandas as pd

    from stream_monitor.settings import Settings

_LEVELS: Final[tuple[Level, ...]] = ("ok", "low", "medium", "high")
_FIRST: Final = "the first tenth"
_RANKS: Final[dict[str, int]] = dict(SEVERITY_RANK.items())


class ReplayedTraffic(NamedTuple):
    """A description of the replayed traffic: texts for the head of the report.

    ``profiles`` are the references, ``not_watched`` has the reasons, ``column_of`` maps the name of
    a feature to its column.  ``of`` is "rows" or "records".
    """

    source: str
    reference: str
    profiles: Sequence[ReferenceProfile]
    not_watched: Sequence[tuple[str, str]]
    column_of: Callable[[str], str]
    of: str
    injected: Sequence[str] = ()


def replay_document(
    result: ReplayResult,
    traffic: ReplayedTraffic,
    spec: MonitorSpec,
    incidents: IncidentPolicy,
    compared: SettingsComparison | None,
    *,
    made_ms: int,
) -> Document:
    """The report of a replay with the settings ``spec``.

    ``compared`` are the differences between candidate and live settings, if there was a candidate.
    """
    episodes = result.episodes
    worst = max((_RANKS[one.severity] for one in episodes), default=0)
    rejected = format_count(len(result.rejected), traffic.of.removesuffix("s"))
    first = f", the first: {result.rejected[0].detail}" if result.rejected else ""
    return Document(
        title=f"Replay: {traffic.source}",
        compared=[
            ("Events", f"{result.n_events:,} of {format_count(result.n_features, 'feature')}"),
            ("Reference", f"{format_count(result.n_reference, 'event')}: {traffic.reference}"),
            *[("Injected", line.strip().removeprefix("injected ")) for line in traffic.injected],
            *([("Rejected", f"{rejected}{first}")] if result.rejected else []),
        ],
        level=_LEVELS[worst],
        result=_result(result, n_incidents(result.alerts, incidents if result.timed else None)),
        tables=[
            _table("Episodes", episodes, "The monitor would have raised no alert."),
            *([] if compared is None else _difference(compared)),
        ],
        pictures=_pictures(result, traffic),
        facts=[
            Facts("Not watched", list(traffic.not_watched), "Every column was watched."),
            Facts("Settings", settings_rows(spec, compared), ""),
        ],
        made_ms=made_ms,
    )


def replay_frame(
    frame: pd.DataFrame,
    reference: pd.DataFrame | None,
    roles: Roles,
    positive: str | None,
    settings: Settings,
) -> ReplayReport:
    """Replay rows, for `driftline.report.replay`; ``roles`` are time, prediction and label.

    Raises:
        SourceError: a column is missing, or the reference cannot be used.
    """
    traffic = table_of(frame.reset_index(drop=True), "frame")
    traffic.frame = with_times(traffic.frame, roles[0], None)
    if reference is None:
        first = len(frame) // 10
        normal, rows = traffic, traffic.frame.iloc[:first]
    else:
        normal, first = table_of(reference.reset_index(drop=True), "reference"), 0
        normal.frame = rows = with_times(normal.frame, roles[0], None)
    layout = layout_of(normal, time=roles[0], prediction=roles[1], label=roles[2])
    used = [*(feature.column for feature in layout.features), *filter(None, roles)]
    for column in used:
        if column not in traffic.frame:
            raise missing_column_error("reference", column, traffic.inferred)
    spec = settings.monitor_spec()
    result = replay(rows, traffic.frame.iloc[first:], layout, spec, first=first, positive=positive)
    skipped = {layout.column_of(name): why for name, why in result.profile.skipped.items()}
    not_watched = layout.ignored | skipped
    replayed = ReplayedTraffic(
        f"{len(frame):,} rows", "the given rows" if reference is not None else _FIRST,
        [result.profile], list(not_watched.items()),
        layout.column_of, "rows",
    )  # fmt: skip
    document = replay_document(
        result, replayed, spec, settings.incident_policy(), None, made_ms=round(clock.time() * 1000)
    )
    return ReplayReport(render(document), result.episodes, not_watched)


def _result(result: ReplayResult, n: int) -> str:
    end = "".join(f" {text[0].upper()}{text[1:]}." for text in end_lines(result))
    n_episodes = len(result.episodes)
    per_million = 1e6 * n_episodes / max(1, result.n_events)
    if not n_episodes:
        return f"No episode in {format_count(result.n_events, 'event')}.{end}"
    n_open = sum(one.ended_event is None for one in result.episodes)
    return (
        f"{format_count(n_episodes, 'episode')} in {format_count(n, 'incident')}, {n_open:,} open "
        f"at the end; {per_million:.2f} alerts per million events.{end}"
    )


def _table(title: str, episodes: Sequence[ReplayEpisode], empty: str) -> FindingTable:
    rows = [
        Finding(
            level=_LEVELS[_RANKS[one.severity]],
            label=one.severity,
            cells=(
                one.feature + (f" ({one.segment})" if one.segment else ""),
                one.kind,
                f"{one.onset_event:,}",
                f"{one.alerted_event:,}",
                "open" if one.ended_event is None else f"{one.ended_event:,}",
            ),
            sentence=one.explanation,
        )
        for one in episodes
    ]
    return FindingTable(
        title, ("Column", "Kind", "Began at row", "Alert at row", "Ended at row"), rows, empty
    )


def _difference(compared: SettingsComparison) -> list[FindingTable]:
    return [
        _table("Only with the candidate settings", compared.would_have_fired, "None."),
        _table("Only with the live settings", compared.would_not_have_fired, "None."),
    ]


def settings_rows(spec: MonitorSpec, compared: SettingsComparison | None) -> list[tuple[str, str]]:
    """The budget, the settings that are not the defaults, and those of a candidate that differ."""
    budget = spec.budget
    per = (
        f"{budget.per_events:,} events"
        if budget.per_weeks is None
        else f"{budget.per_weeks:g} weeks of event time"
    )
    alarms = "alarm" if budget.false_alerts == 1 else "alarms"
    changed = setting_differences(spec, MonitorSpec())
    return [
        ("budget", f"{budget.false_alerts:g} false {alarms} in {per}"),
        *((one.name, f"{one.candidate!r} (default {one.live!r})") for one in changed),
        *(
            (f"candidate: {one.name}", f"{one.candidate!r}, live {one.live!r}")
            for one in (() if compared is None else compared.settings)
        ),
    ]


def _pictures(result: ReplayResult, traffic: ReplayedTraffic) -> list[Picture]:
    """A picture for each feature with an episode: the reference, and the values in the episode."""
    profiles = {profile.version: profile for profile in traffic.profiles}
    found: dict[tuple[str, str], Picture] = {}
    for alerts in alerts_by_episode(result.alerts).values():
        first = alerts[0]
        if first.feature is None or first.segment is not None:
            continue
        key = first.version, first.feature
        picture = None if key in found else _picture(alerts, profiles, result, traffic)
        if picture is not None:
            found[key] = picture
    return list(found.values())


def _picture(
    alerts: Sequence[DriftAlert],
    profiles: Mapping[str, ReferenceProfile],
    result: ReplayResult,
    traffic: ReplayedTraffic,
) -> Picture | None:
    first = alerts[0]
    profile = profiles.get(first.version)
    name = first.feature or ""
    reference = None if profile is None else profile.features.get(name)
    if reference is None:
        return None
    windows = [one for one in result.windows if one.version == first.version]
    until = next((a.decided_ms for a in alerts if a.phase in ENDED_PHASES), None)
    last_ms = max((one.end_ms for one in windows), default=0)
    fresh = merged_feature(windows, name, reference, first.onset_ms, until or last_ms)
    shape = None if fresh is None else distribution(reference, fresh)
    if shape is None:
        return None
    return Picture(
        title=traffic.column_of(name),
        svg=histogram(shape),
        before=f"reference, n {shape.n_before:,}",
        after=f"in the episode, n {shape.n_after:,}",
    )
