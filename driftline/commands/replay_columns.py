"""Columns of recorded traffic against one reference, for `driftline replay`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from driftline.commands.failure import RUNTIME, USAGE, Failure
from driftline.commands.replay_output import show
from driftline.commands.replay_trial import trial
from driftline.commands.rows import note_changes, note_left_out, read_rows

if TYPE_CHECKING:
    import pandas as pd

    from driftline.tables.choices import Choices
    from driftline.tables.layout import Layout, Roles
    from driftline.tables.reader import Table
    from producer.injection import Injection
    from stream_monitor.reference.profile import ReferenceProfile


_LEFT_OUT: Final = """
  of the log only events and labels, for the options that ask for columns (--inject, --reference,
  --segment, ...): nothing is said of silence or volume"""


class Changes(NamedTuple):
    """What is different from the traffic as it was: drift put in, segments looked at."""

    inject: list[str]
    segments: list[str]


class Traffic(NamedTuple):
    """Rows, and which columns are what; of a topic also ``in_force``, a profile of the log."""

    source: str
    table: Table
    roles: Roles
    in_force: ReferenceProfile | None = None
    versions: tuple[str, ...] = ()
    is_log: bool = False
    time_format: str | None = None


class Normal(NamedTuple):
    """The reference, its columns, the first row replayed, its name, and which label is positive."""

    reference: pd.DataFrame | ReferenceProfile
    layout: Layout
    first: int
    says: str
    positive: str | None = None


def timed(traffic: Traffic, time: str | None, time_format: str | None) -> Traffic:
    """The same traffic with the column ``time`` read as it is written."""
    from driftline.tables.times import with_times  # noqa: PLC0415 - light imports

    traffic.table.frame = with_times(traffic.table.frame, time, time_format)
    return traffic._replace(time_format=time_format)


def normal_of(
    traffic: Traffic,
    given: str | None,
    stored: ReferenceProfile | None,
    choices: Choices,
    positive: str | None,
) -> Normal:
    """What was asked for; without that, what the log has, or the first rows."""
    from driftline.replay.reference import parse_reference  # noqa: PLC0415 - light imports
    from driftline.replay.stored import layout_by  # noqa: PLC0415
    from driftline.tables.layout import layout_of  # noqa: PLC0415
    from driftline.tables.refusal import BadSource  # noqa: PLC0415
    from driftline.tables.times import with_times  # noqa: PLC0415

    frame = traffic.table.frame
    time, prediction, label = traffic.roles
    versions = ", ".join(traffic.versions)
    held = f"; events of versions {versions} are held against it" if ", " in versions else ""
    held += _LEFT_OUT if traffic.is_log else ""
    profile = stored or traffic.in_force
    if profile is not None:
        if choices.categorical or choices.numeric or positive is not None:
            raise BadSource("--categorical, --numeric and --positive: a profile says that itself",
                            fix="driftline profile build, or --reference first:10%")  # fmt: skip
        layout = layout_by(profile, traffic.table, time=time, prediction=prediction, label=label,
                           events=traffic.is_log)  # fmt: skip
        where = given if stored else "as the log announces it"
        return Normal(profile, layout, 0, f"{profile.model}@{profile.version}, {where}{held}")
    given = given or "first:10%"
    wanted = parse_reference(given, len(frame))
    first = 0 if isinstance(wanted, Path) else wanted
    if isinstance(wanted, Path):
        rows = read_rows(wanted, choices, prediction=prediction)
        normal = with_times(rows.frame, time, traffic.time_format)
    else:
        rows, normal = traffic.table, frame.iloc[:first]
    layout = layout_of(rows, time=time, prediction=prediction, label=label)
    wanted_columns = [f.column for f in layout.features]
    wanted_columns += [role for role in traffic.roles if role is not None]
    missing = [column for column in wanted_columns if column not in frame]
    if missing:
        raise BadSource(
            f"{traffic.source}: the reference has a column {missing[0]!r}, this file has not"
        )
    note_changes(normal, layout)
    return Normal(normal, layout, first, f"{given}{held}", positive)


def replay_columns(
    frame: pd.DataFrame, normal: Normal, wished: Changes, config: Path | None, *, as_json: bool
) -> None:
    """Replay the rows, with drift put in where it was asked for, and show what came of it."""
    from driftline.replay import report  # noqa: PLC0415 - light imports
    from driftline.replay.comparison import comparison_lines  # noqa: PLC0415
    from driftline.replay.injected import findings  # noqa: PLC0415
    from driftline.replay.run import replay as run  # noqa: PLC0415
    from driftline.tables.refusal import BadSource  # noqa: PLC0415
    from stream_monitor.reference.profile import ReferenceProfile  # noqa: PLC0415

    reference, layout, first, says, positive = normal
    if wished.segments and isinstance(reference, ReferenceProfile):
        raise BadSource("--segment: a profile brings its own segments",
                        fix="driftline profile build --segment")  # fmt: skip
    changes = _injections(
        wished.inject, {f.column: f.kind for f in layout.features}, first, len(frame)
    )
    rest = frame.iloc[first:]
    segments = _segments(wished.segments, layout)
    chosen, _, incidents, against = trial(
        config,
        lambda spec: run(
            reference, rest, layout, spec, first=first, injections=changes, segments=segments,
            positive=positive,
        ),
    )  # fmt: skip
    if not as_json:  # there the columns are named on stderr anyway
        skipped = chosen.profile.skipped.items()
        note_left_out(layout.ignored | {layout.column_of(name): why for name, why in skipped})
    found = findings(changes, chosen.episodes)
    data = report.summary(chosen, found, against, incidents)
    head = ["Columns", *report.layout_lines(layout, chosen), "", "Reference", f"  {says}"]
    middle = [*report.finding_lines(found), *(comparison_lines(against) if against else [])]
    show(head, middle, chosen, data, of="rows", as_json=as_json)
    if chosen.refused and len(chosen.refused) >= len(rest):
        raise Failure(
            "every row was rejected", why=f"the first: {chosen.refused[0].detail}", code=RUNTIME
        )


def _injections(
    texts: list[str], kinds: Mapping[str, str], first: int, end: int
) -> list[Injection]:
    """The changes to put into rows ``first`` to ``end``, by the kinds of the columns."""
    from producer.injection import parse, why_not  # noqa: PLC0415 - light imports

    try:
        parsed = [parse(text) for text in texts]
    except ValueError as error:
        raise Failure("--inject is wrong", why=str(error), code=USAGE) from error
    for injection in parsed:
        if injection.column not in kinds:
            raise Failure(
                f"--inject: {injection.column!r} is no watched column",
                fix=f"one of {', '.join(sorted(kinds))}",
                code=USAGE,
            )
        if why := why_not(injection, kinds[injection.column]):
            raise Failure("--inject would change nothing", why=why, code=USAGE)
        if not first <= injection.first < end:
            raise Failure(
                f"--inject: row {injection.first:,} of {injection.column!r} is not replayed",
                fix=f"rows {first:,} to {end - 1:,} are",
                code=USAGE,
            )
    return parsed


def _segments(texts: list[str], layout: Layout) -> list[str]:
    """Declarations by the names that the core knows."""
    from stream_monitor.reference.segment import declared_part  # noqa: PLC0415 - light imports

    name_of = {feature.column: feature.name for feature in layout.features}
    declared = []
    for text in texts:
        column, value = declared_part(text, name_of)
        if column not in name_of:
            raise Failure(
                f"--segment: {column!r} is no watched column",
                fix=f"one of {', '.join(sorted(name_of))}",
                code=USAGE,
            )
        declared.append(name_of[column] + ("" if value is None else f"={value}"))
    return declared
