"""The result of a replay as text and as data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from driftline.offline.explain.threshold_calibration import rate_fix
from driftline.offline.injection import Injection
from driftline.offline.replay.replay_episodes import ReplayEpisode, ReplayResult, n_incidents
from driftline.offline.replay.settings_comparison import SettingsComparison, difference
from driftline.offline.replay.table_replay import TableReplay
from driftline.offline.replay.topic_range import TopicRange
from driftline.offline.replay.topic_replay import TopicReplay, VersionReplay
from driftline.offline.tables.layout import Layout
from producer.events import CE_TYPE_OF, Command, InferenceEvent, Label, ModelUpdate
from producer.printable import printable
from stream_monitor.detectors.calibration import Budget, in_events
from stream_monitor.episodes.formatting import format_time
from stream_monitor.episodes.incidents import IncidentPolicy
from stream_monitor.reference.season import WEEK_MS


class InjectionResult(NamedTuple):
    """An injected change, and the rows until its alert; ``delay_events`` is null if it was missed.

    A change of a series that already drifts raises no new alert; ``open_since`` is the row of the
    alert that was open.
    """

    column: str
    kind: str
    first: int
    delay_events: int | None
    open_since: int | None = None


def injection_results(
    injections: Sequence[Injection], episodes: Sequence[ReplayEpisode]
) -> list[InjectionResult]:
    """For each change, its first alert before the next change of the same column."""
    found = []
    for injection in injections:
        column, first = injection.column, injection.first
        later = [i.first for i in injections if i.column == column and i.first > first]
        until = min(later, default=None)
        alerts = [
            episode.alerted_event
            for episode in episodes
            if episode.feature == column
            and episode.alerted_event >= first
            and (until is None or episode.alerted_event < until)
        ]
        delay = min(alerts) - first if alerts else None
        already_open = [
            episode.alerted_event
            for episode in episodes
            if episode.feature == column
            and episode.alerted_event < first
            and (episode.ended_event is None or episode.ended_event >= first)
        ]
        open_since = max(already_open, default=None) if delay is None else None
        found.append(InjectionResult(column, injection.kind, first, delay, open_since))
    return found


_WIDTH: Final = 240  # the same on a terminal and in a pipe


def summary(
    result: ReplayResult,
    found: Sequence[InjectionResult],
    compared: SettingsComparison | None,
    incidents: IncidentPolicy,
) -> dict[str, Any]:
    """The summary of a replay as data; ``incidents`` is the policy that groups episodes."""
    n_alerts = len(result.episodes)
    data: dict[str, Any] = {
        "events": result.n_events,
        "features": result.n_features,
        "reference_events": result.n_reference,
        "episodes": n_alerts,
        "incidents": n_incidents(result.alerts, incidents if result.timed else None),
        "alerts_per_million": round(1e6 * n_alerts / result.n_events, 2),
        "seconds": round(result.seconds, 2),
    }
    if result.span_ms:
        data["alerts_per_week"] = round(n_alerts * WEEK_MS / result.span_ms, 3)
    if result.rejected:
        data["rejected"] = len(result.rejected)
    if result.suspected:
        data["suspected"] = result.suspected
    if result.n_suppressed:
        data["suppressed"] = result.n_suppressed
    if found:
        data["injected"] = [one._asdict() for one in found]
    if compared is not None:
        data["would_have_fired"] = len(compared.would_have_fired)
        data["would_not_have_fired"] = len(compared.would_not_have_fired)
        data["difference"] = difference(compared)
    return data


def layout_lines(layout: Layout, replay: TableReplay) -> list[str]:
    """The kind of every column, as the core has it, and the columns that are not watched."""
    by_kind: dict[str, list[str]] = {}
    for feature in layout.features:
        fitted = replay.profile.features.get(feature.name)
        if fitted is not None:
            by_kind.setdefault(fitted.kind, []).append(feature.column)
    rows = [(kind, ", ".join(by_kind[kind])) for kind in sorted(by_kind)]
    back = f"{replay.n_backward:,} rows are earlier than the row before"
    if 2 * replay.n_backward > replay.n_events:
        back += ": the newest are first, also in the reference; sort the rows by time"
    back = f" ({back})" if replay.n_backward else ""
    rows += [("note", text) for text in layout.notes]
    if layout.time is None:
        rows.append(("time", f"none: one event a second (--time){back}"))
    else:  # the years show a clock that is wrong, and numbers that are no times
        span = f"{format_time(replay.since_ms)} to {format_time(replay.until_ms)}"
        rows.append(("time", f"{layout.time}, {span}{back}"))
    if layout.prediction is not None:
        rows.append(("prediction", layout.prediction))
    if layout.label is not None:
        alone = " (not used without --prediction)" if layout.prediction is None else ""
        rows.append(("label", layout.label + alone + _labels_not_compared(replay)))
    if replay.budget.per_weeks is not None:
        fix = rate_fix(from_rows=replay.from_rows, timed=replay.timed)
        rows.append(("budget", per_week(replay.budget, replay.profile.events_per_week, fix)))
    rows += [(f"not watched: {name}", why) for name, why in layout.ignored.items()]
    rows += [
        (f"not watched: {layout.column_of(name)}", why)
        for name, why in replay.profile.skipped.items()
    ]
    width = max(len(head) for head, _ in rows)
    return [f"  {head:<{width}}  {text}" for head, text in rows]


def _labels_not_compared(replay: TableReplay) -> str:
    """The rows whose error is not known; empty if there are none."""
    parts = [
        f"{n:,} {what}"
        for n, what in (
            (replay.n_without_label, "rows have no label"),
            (replay.n_not_comparable, "labels cannot be compared with their predictions"),
        )
        if n
    ]
    return f" ({', '.join(parts)})" if parts and replay.profile.loss is not None else ""


def per_week(budget: Budget, events_per_week: float | None, fix: str) -> str:
    """The conversion of a budget per week; ``fix`` is how to give the reference a rate."""
    held = in_events(budget, events_per_week)
    per_events = f"{held.false_alerts:g} in {held.per_events:,} events"
    if events_per_week is None:
        return f"{per_events}: the reference has no number of events a week ({fix})"
    return f"{per_events}, at {events_per_week:,.0f} a week in the reference"


def episode_lines(episodes: Sequence[ReplayEpisode]) -> list[str]:
    """The episodes as a table."""
    if not episodes:
        return ["  none"]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("alert at row", "began at", "ended at"):
        table.add_column(title, justify="right")
    for title in ("severity", "kind", "what"):
        table.add_column(title)
    for episode in episodes:
        ended = "" if episode.ended_event is None else f"{episode.ended_event:,}"
        table.add_row(
            f"{episode.alerted_event:,}",
            f"{episode.onset_event:,}",
            ended,
            episode.severity,
            episode.kind,
            escape(printable(episode.explanation)),
        )
    wide = Console(width=_WIDTH, color_system=None, emoji=False)
    with wide.capture() as drawn:
        wide.print(table)
    return [f"  {line.rstrip()}" for line in drawn.get().splitlines()]


def summary_lines(data: dict[str, Any], result: ReplayResult, *, of: str = "rows") -> list[str]:
    """The summary as text; ``of`` is "rows" or "records"."""
    week = f", {data['alerts_per_week']} per week" if "alerts_per_week" in data else ""
    rate = round(result.n_events / result.seconds) if result.seconds else 0
    lines = [
        (
            f"  {_counted(data['events'], 'event')} of {_counted(data['features'], 'feature')} "
            f"after a reference of {data['reference_events']:,}: "
            f"{_counted(data['episodes'], 'episode')}, "
            f"{_counted(data['incidents'], 'incident')}"
        ),
        (
            f"  {data['alerts_per_million']} alerts per million events{week}; "
            f"{data['seconds']} s, {rate:,} events/s"
        ),
    ]
    if result.rejected:
        first = result.rejected[0]
        lines.append(f"  {len(result.rejected):,} {of} rejected, the first: {first.detail}")
    return [*lines, *(f"  {text}" for text in end_lines(result))]


def end_lines(result: ReplayResult) -> list[str]:
    """What the last events are too few to decide, and the alerts that were suppressed."""
    n = result.events_to_confirm
    lines: list[str] = []
    if result.n_suppressed:
        clock = "" if result.timed else "; without --time an event lasts a second"
        lines.append(
            f"{_counted(result.n_suppressed, 'alert')} suppressed: the signal had recovered "
            f"shortly before ([episodes] cooldown_ms), or was snoozed{clock}"
        )
    lines.append(
        f"drift that begins in the last {n} events is not confirmed yet: that takes {n} "
        "or more events after the suspicion"
    )
    if result.suspected:
        names = ", ".join(map(printable, result.suspected))
        lines.append(f"suspected at the end, neither confirmed nor dismissed: {names}")
    return lines


def _counted(n: int, noun: str) -> str:
    """A number and a noun, in the plural unless it is one.

    >>> _counted(1, "episode"), _counted(0, "episode")
    ('1 episode', '0 episodes')
    """
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def injection_lines(found: Sequence[InjectionResult]) -> list[str]:
    """One line for each injected change."""
    return [
        f"  injected {one.kind} of {one.column} at row {one.first:,}: {_injection_text(one)}"
        for one in found
    ]


def _injection_text(one: InjectionResult) -> str:
    if one.delay_events is not None:
        return f"alert after {one.delay_events:,} rows"
    if one.open_since is not None:
        return f"no new alert, because the alert of row {one.open_since:,} was still open"
    return "missed"


_NAMES: Final = {
    CE_TYPE_OF[InferenceEvent]: "events",
    CE_TYPE_OF[Label]: "labels",
    CE_TYPE_OF[ModelUpdate]: "model updates",
    CE_TYPE_OF[Command]: "commands",
}


def topic_lines(replay: TopicReplay, records: TopicRange) -> list[str]:
    """The records of the range by kind, its partitions, and the features by kind."""
    kinds = sum((part.kinds for part in records.parts), Counter[str]())
    counts = ", ".join(f"{kinds[kind]:,} {name}" for kind, name in _NAMES.items())
    by_kind: dict[str, set[str]] = {}
    for profile in replay.profiles:
        for name, feature in profile.features.items():
            by_kind.setdefault(feature.kind, set()).add(name)
    skipped = {name: why for profile in replay.profiles for name, why in profile.skipped.items()}
    rows = [
        ("records", counts),
        ("partitions", ", ".join(str(part.partition) for part in records.parts)),
        *((kind, ", ".join(sorted(by_kind[kind]))) for kind in sorted(by_kind)),
        *((f"not watched: {name}", why) for name, why in skipped.items()),
    ]
    width = max(len(head) for head, _ in rows)
    return [f"  {head:<{width}}  {text}" for head, text in rows]


def version_lines(replay: TopicReplay, model: str, budget: Budget) -> list[str]:
    """The reference of each version, and the conversion of a budget per week."""
    return [
        f"  {model}@{one.version}, {_reference_text(one)}{_budget_text(one, budget)}"
        for one in replay.versions
    ]


def coverage_lines(replay: TopicReplay) -> list[str]:
    """The events of the range that were not watched, with the reasons."""
    if not replay.coverage_episodes:
        return []
    episode_lines = [f"  {one.severity}: {one.explanation}" for one in replay.coverage_episodes]
    return ["", "Not watched", *episode_lines]


def not_watched(replay: TopicReplay) -> list[tuple[str, str]]:
    """The features and the events of the range that were not watched, with the reasons."""
    skipped = {name: why for profile in replay.profiles for name, why in profile.skipped.items()}
    events = [("events", one.explanation) for one in replay.coverage_episodes]
    return [*skipped.items(), *events]


def version_data(replay: TopicReplay, budget: Budget) -> list[dict[str, Any]]:
    """The versions as data; the event rate only with a budget per week."""
    without = () if budget.per_weeks is not None else ("events_per_week",)
    return [
        {name: value for name, value in one._asdict().items() if name not in without}
        for one in replay.versions
    ]


def _reference_text(one: VersionReplay) -> str:
    if one.reference is None:
        return f"no profile, and too few events to learn one: {one.events:,}, not watched"
    how = "announced profile" if one.reference == "training" else "its own first events"
    return f"{how}: {one.watched:,} of {one.events:,} events compared with {one.reference_events:,}"


def _budget_text(one: VersionReplay, budget: Budget) -> str:
    if budget.per_weeks is None or one.reference is None:
        return ""
    fix = rate_fix(from_rows=False, timed=True)
    return f"; {per_week(budget, one.events_per_week, fix)}"
