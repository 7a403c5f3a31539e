"""Replay recorded rows with one reference, for ``driftline replay``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from driftline.cli.candidate_settings import run_with_candidate
from driftline.cli.command_error import CommandError, UsageError
from driftline.cli.input_files import note_changes, note_columns_not_watched, read_rows
from driftline.cli.output import note, write_json, write_lines
from driftline.cli.report import now_ms, write_report

if TYPE_CHECKING:
    import pandas as pd

    from driftline.cli.candidate_settings import CandidateRun, ResultT
    from driftline.offline.injection import Injection
    from driftline.offline.replay.replay_episodes import ReplayResult
    from driftline.offline.tables.layout import Layout, Roles
    from driftline.offline.tables.read_options import ReadOptions
    from driftline.offline.tables.table_reader import Table
    from driftline.report.replay_document import ReplayedTraffic
    from stream_monitor.reference.profile import ReferenceProfile


def show(
    head: list[str],
    middle: list[str],
    result: ReplayResult,
    data: dict[str, Any],
    *,
    of: str,
    as_json: bool,
) -> None:
    """Print ``head``, the episodes, ``middle`` and the summary ``data``; ``of`` names the rows."""
    from driftline.offline.replay import replay_report as report  # noqa: PLC0415 - light imports

    if as_json:
        for episode in result.episodes:
            write_json(episode, indent=0)
        write_json(data, indent=0)
        note(*head)
        return
    lines = [
        *head,
        "",
        "Episodes",
        *report.episode_lines(result.episodes),
        *middle,
        "",
        *report.summary_lines(data, result, of=of),
    ]
    write_lines(lines)


def write_replay_report(path: Path, run: CandidateRun[ResultT], traffic: ReplayedTraffic) -> None:
    """Write the report of a replay for ``--html``."""
    from driftline.report.document import render  # noqa: PLC0415 - light imports
    from driftline.report.replay_document import replay_document  # noqa: PLC0415

    document = replay_document(
        run.chosen, traffic, run.spec, run.incidents, run.settings_difference, made_ms=now_ms()
    )
    write_report(render(document), path)


_TOPIC_AS_TABLE_NOTE: Final = """
  only events and labels of the topic are replayed, because of an option about columns (--inject,
  --reference, --segment, ...); silence and volume are not checked"""


class RequestedChanges(NamedTuple):
    """The changes to the recorded traffic: injected drift, and segments to watch."""

    inject: list[str]
    segments: list[str]


class RecordedTraffic(NamedTuple):
    """Recorded rows with the roles of their columns.

    ``in_force`` is the profile that was announced on the topic, if the rows are from a topic.
    """

    source: str
    table: Table
    roles: Roles
    in_force: ReferenceProfile | None = None
    versions: tuple[str, ...] = ()
    is_topic: bool = False
    time_format: str | None = None


class ReferenceColumns(NamedTuple):
    """The reference, its columns, the first row to replay, its description, the positive label."""

    reference: pd.DataFrame | ReferenceProfile
    layout: Layout
    first: int
    description: str
    positive: str | None = None


def with_parsed_times(
    traffic: RecordedTraffic, time: str | None, time_format: str | None
) -> RecordedTraffic:
    """The same traffic with the column ``time`` parsed in ``time_format``."""
    from driftline.offline.tables.event_times import with_times  # noqa: PLC0415 - light imports

    traffic.table.frame = with_times(traffic.table.frame, time, time_format)
    return traffic._replace(time_format=time_format)


def reference_of_replay(
    traffic: RecordedTraffic,
    given: str | None,
    stored: ReferenceProfile | None,
    read_options: ReadOptions,
    positive: str | None,
) -> ReferenceColumns:
    """The requested reference; by default the announced profile, or the first rows."""
    from driftline.offline.replay.reference_option import parse_reference  # noqa: PLC0415 - light imports
    from driftline.offline.replay.stored_profile import layout_of_profile  # noqa: PLC0415
    from driftline.offline.tables.event_times import with_times  # noqa: PLC0415
    from driftline.offline.tables.layout import layout_of  # noqa: PLC0415
    from driftline.offline.tables.source_error import SourceError  # noqa: PLC0415
    from driftline.offline.tables.table_reader import with_kinds_of_first  # noqa: PLC0415

    frame = traffic.table.frame
    time, prediction, label = traffic.roles
    versions = ", ".join(traffic.versions)
    more = f"; events of versions {versions} are compared with it" if ", " in versions else ""
    more += _TOPIC_AS_TABLE_NOTE if traffic.is_topic else ""
    profile = stored or traffic.in_force
    if profile is not None:
        if read_options.categorical or read_options.numeric or positive is not None:
            raise SourceError(
                "--categorical, --numeric and --positive have no effect with a profile",
                fix="give them to driftline profile build, or use --reference first:10%",
            )
        layout = layout_of_profile(
            profile,
            traffic.table,
            time=time,
            prediction=prediction,
            label=label,
            events=traffic.is_topic,
        )
        where = given if stored else "as announced on the topic"
        return ReferenceColumns(
            profile, layout, 0, f"{profile.model}@{profile.version}, {where}{more}"
        )
    given = given or "first:10%"
    wanted = parse_reference(given, len(frame))
    first = 0 if isinstance(wanted, Path) else wanted
    if isinstance(wanted, Path):
        rows = read_rows(wanted, read_options, prediction=prediction)
        normal = with_times(rows.frame, time, traffic.time_format)
    else:
        rows = with_kinds_of_first(traffic.table, first, read_options)
        frame = rows.frame
        traffic.table.frame, traffic.table.inferred = frame, rows.inferred
        normal = frame.iloc[:first]
    layout = layout_of(rows, time=time, prediction=prediction, label=label)
    wanted_columns = [f.column for f in layout.features]
    wanted_columns += [role for role in traffic.roles if role is not None]
    missing = [column for column in wanted_columns if column not in frame]
    if missing:
        raise SourceError(
            f"{traffic.source}: the reference has a column {missing[0]!r}, the file does not",
            fix=f"rename the column, or give --ignore {missing[0]!r}; the file has "
            f"{', '.join(map(str, frame))}",
        )
    note_changes(normal, layout)
    return ReferenceColumns(normal, layout, first, f"{given}{more}", positive)


def replay_table(
    traffic: RecordedTraffic,
    normal: ReferenceColumns,
    requested: RequestedChanges,
    config: Path | None,
    *,
    html: Path | None,
    as_json: bool,
) -> None:
    """Replay the rows, with injected drift if requested; print the result, and write ``html``."""
    from driftline.offline.explain.reference_limits import dependence_lines  # noqa: PLC0415 - light imports
    from driftline.offline.replay import replay_report as report  # noqa: PLC0415
    from driftline.offline.replay.replay_report import injection_results  # noqa: PLC0415
    from driftline.offline.replay.settings_comparison import comparison_lines  # noqa: PLC0415
    from driftline.offline.replay.table_replay import replay as run  # noqa: PLC0415
    from driftline.offline.tables.reference_profile import percentage_note  # noqa: PLC0415
    from driftline.offline.tables.source_error import SourceError  # noqa: PLC0415
    from stream_monitor.reference.profile import ReferenceProfile  # noqa: PLC0415

    frame = traffic.table.frame
    reference, layout, first, description, positive = normal
    if requested.segments and isinstance(reference, ReferenceProfile):
        raise SourceError(
            "--segment has no effect with a profile, which has its own segments",
            fix="give it to driftline profile build",
        )
    changes = _injections(
        requested.inject, {f.column: f.kind for f in layout.features}, first, len(frame)
    )
    rest = frame.iloc[first:]
    segments = _segments(requested.segments, layout)
    done = run_with_candidate(
        config,
        lambda spec: run(
            reference,
            rest,
            layout,
            spec,
            first=first,
            injections=changes,
            segments=segments,
            positive=positive,
        ),
    )
    chosen, _, incidents, settings_difference = done
    skipped = chosen.profile.skipped.items()
    not_watched = layout.ignored | {layout.column_of(name): why for name, why in skipped}
    doubt = percentage_note(chosen.profile, rest, layout) if first else ""
    if doubt:
        note(doubt)
    if first:
        note(*dependence_lines(chosen.profile))
    if not as_json:  # with JSON the columns are printed to stderr anyway
        note_columns_not_watched(not_watched)
    found = injection_results(changes, chosen.episodes)
    data = report.summary(chosen, found, settings_difference, incidents)
    head = ["Columns", *report.layout_lines(layout, chosen), "", "Reference", f"  {description}"]
    middle = [
        *report.injection_lines(found),
        *(comparison_lines(settings_difference) if settings_difference else []),
    ]
    show(head, middle, chosen, data, of="rows", as_json=as_json)
    if html is not None:
        from driftline.report.replay_document import ReplayedTraffic  # noqa: PLC0415 - light imports

        replayed = ReplayedTraffic(
            traffic.source,
            description,
            [chosen.profile],
            list(not_watched.items()),
            layout.column_of,
            "rows",
            report.injection_lines(found),
        )
        write_replay_report(html, done, replayed)
    if chosen.rejected and len(chosen.rejected) >= len(rest):
        raise CommandError(
            "every row was rejected", why=f"the first one: {chosen.rejected[0].detail}"
        )


def _injections(
    texts: list[str], kinds: Mapping[str, str], first: int, end: int
) -> list[Injection]:
    """The changes to inject into rows ``first`` to ``end``; ``kinds`` are the columns' kinds."""
    from driftline.offline.injection import inapplicable_reason, parse  # noqa: PLC0415 - light imports

    try:
        parsed = [parse(text) for text in texts]
    except ValueError as error:
        raise UsageError("--inject is not valid", why=str(error)) from error
    for injection in parsed:
        if injection.column not in kinds:
            raise UsageError(
                f"--inject: {injection.column!r} is not a watched column",
                fix=f"choose one of {', '.join(sorted(kinds))}",
            )
        if why := inapplicable_reason(injection, kinds[injection.column]):
            raise UsageError("--inject would change nothing", why=why)
        if not first <= injection.first < end:
            raise UsageError(
                f"--inject: row {injection.first:,} of {injection.column!r} is not replayed",
                fix=f"choose a row from {first:,} to {end - 1:,}",
            )
    return parsed


def _segments(texts: list[str], layout: Layout) -> list[str]:
    """The segments with the features' names in place of the columns'."""
    from stream_monitor.reference.segment_reference import parse_segment  # noqa: PLC0415 - light imports

    name_of = {feature.column: feature.name for feature in layout.features}
    declared = []
    for text in texts:
        column, value = parse_segment(text, name_of)
        if column not in name_of:
            raise UsageError(
                f"--segment: {column!r} is not a watched column",
                fix=f"choose one of {', '.join(sorted(name_of))}",
            )
        declared.append(name_of[column] + ("" if value is None else f"={value}"))
    return declared
