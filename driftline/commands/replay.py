"""``driftline replay``: recorded traffic through the monitor's core."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, TypeAlias

import typer

from driftline.commands.failure import USAGE, Failure
from driftline.commands.options import Bootstrap, Categorical, Json, Positive
from driftline.commands.output import note, write_json

if TYPE_CHECKING:
    import pandas as pd

    from driftline.replay.columns import Layout
    from producer.injection import Injection
    from stream_monitor.reference.profile import ReferenceProfile


def replay(
    source: Annotated[
        str,
        typer.Argument(help="CSV, Parquet or JSON lines, a row an event; or topic:NAME, the log."),
    ],
    reference: Annotated[
        str | None,
        typer.Option(
            help="What was normal: first:10%, first:5000, a file of rows, or a stored profile.json "
            "\\[default: first:10%; of a topic, the profile that its version was announced with]."
        ),
    ] = None,
    time: Annotated[str | None, typer.Option(help="Column of event time.")] = None,
    label: Annotated[str | None, typer.Option(help="Column of the truth.")] = None,
    prediction: Annotated[str | None, typer.Option(help="Column of the predictions.")] = None,
    positive: Positive = None,
    categorical: Categorical = None,
    inject: Annotated[
        list[str] | None, typer.Option(help="Drift to put in, like mean:temp:+0.5sd@50000.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", help="Settings to try, laid over the live ones and compared with them."
        ),
    ] = None,
    segment: Annotated[
        list[str] | None,
        typer.Option(help="A column whose values are watched by themselves, or carrier=UA."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Of a topic: the model.")] = None,
    since: Annotated[
        str | None, typer.Option("--from", help="Of a topic: first offset or append time.")
    ] = None,
    upto: Annotated[
        str | None, typer.Option("--to", help="Of a topic: offset or append time to stop before.")
    ] = None,
    bootstrap_servers: Bootstrap = None,
    *,
    as_json: Json = False,
) -> None:
    """What would the monitor have said?  No side effects; of a file, no Kafka and no Redis either.

    Columns are taken for what they look like, and shown.  With --json: one line for each episode,
    the summary as the last one, and with --config its "difference" says what changes.

    A topic is replayed as the events and labels of one model: commands and ticks are left out, so
    nothing is said of silence or volume, and where several versions served, all events are held
    against the one reference that is shown.
    """
    from driftline.replay.refusal import BadSource  # noqa: PLC0415 - light imports

    try:
        roles = (time, prediction, label)
        where = Range(model, since, upto, bootstrap_servers)
        stored = _stored(reference)
        traffic = _traffic(source, where, roles, reference, stored)
        normal = _normal(traffic, reference, stored, categorical or [], positive)
        changes = Changes(inject or [], segment or [])
        _replay(traffic.frame, normal, changes, config, as_json=as_json)
    except BadSource as bad:
        raise Failure(str(bad), fix=bad.fix, code=USAGE) from bad


class Changes(NamedTuple):
    """What is different from the traffic as it was: drift put in, segments looked at."""

    inject: list[str]
    segments: list[str]


class Range(NamedTuple):
    """Which part of a topic is meant, and where the topic is."""

    model: str | None
    since: str | None
    upto: str | None
    bootstrap_servers: str | None


Roles: TypeAlias = tuple[str | None, str | None, str | None]
"""The columns of event time, prediction and truth."""


class Traffic(NamedTuple):
    """Rows, and which columns are what; of a topic also ``in_force``, a profile of the log."""

    source: str
    frame: pd.DataFrame
    roles: Roles
    in_force: ReferenceProfile | None = None
    versions: tuple[str, ...] = ()
    is_log: bool = False


class Normal(NamedTuple):
    """The reference, its columns, the first row replayed, its name, and which label is positive."""

    reference: pd.DataFrame | ReferenceProfile
    layout: Layout
    first: int
    says: str
    positive: str | None = None


def _stored(reference: str | None) -> ReferenceProfile | None:
    from driftline.replay.stored import stored_profile  # noqa: PLC0415 - light imports

    return None if reference is None else stored_profile(Path(reference))


def _traffic(
    source: str, where: Range, roles: Roles, given: str | None, stored: ReferenceProfile | None
) -> Traffic:
    """The rows of a file, or of a topic, which says itself what is what."""
    from driftline.commands.trial import live_settings  # noqa: PLC0415 - light imports
    from driftline.replay import topic  # noqa: PLC0415
    from driftline.replay.refusal import BadSource  # noqa: PLC0415
    from driftline.replay.source import read_frame  # noqa: PLC0415

    if not source.startswith(topic.MARK):
        if where[:3] != (None, None, None):
            raise BadSource("--model, --from and --to choose from a topic, and this is a file",
                            fix="replay topic:driftline.events.v1")  # fmt: skip
        return Traffic(source, read_frame(Path(source)), roles)
    settings = live_settings(bootstrap_servers=where.bootstrap_servers)
    since = topic.parse_bound(where.since, "--from") if where.since is not None else None
    upto = topic.parse_bound(where.upto, "--to") if where.upto is not None else None
    frame, in_force, versions = topic.read_range(
        settings.kafka.client(), source.removeprefix(topic.MARK), where.model, since, upto,
        profiled=stored is not None, announced=given is None,
    )  # fmt: skip
    own = (topic.TIME, topic.PREDICTION, topic.LABEL if topic.LABEL in frame else None)
    time, prediction, label = (role or mine for role, mine in zip(roles, own, strict=True))
    roles = (time, prediction, label)
    return Traffic(source, frame, roles, in_force, tuple(versions), is_log=True)


def _normal(
    traffic: Traffic,
    given: str | None,
    stored: ReferenceProfile | None,
    categorical: list[str],
    positive: str | None,
) -> Normal:
    """What was asked for; without that, what the log has, or the first rows."""
    from driftline.replay.columns import layout_of  # noqa: PLC0415 - light imports
    from driftline.replay.reference import parse_reference  # noqa: PLC0415
    from driftline.replay.refusal import BadSource  # noqa: PLC0415
    from driftline.replay.source import read_frame  # noqa: PLC0415
    from driftline.replay.stored import layout_by  # noqa: PLC0415

    frame = traffic.frame
    time, prediction, label = traffic.roles
    versions = ", ".join(traffic.versions)
    held = f"; events of versions {versions} are held against it" if ", " in versions else ""
    profile = stored or traffic.in_force
    if profile is not None:
        if categorical or positive is not None:
            raise BadSource("--categorical and --positive: a profile says that itself",
                            fix="driftline profile build, or --reference first:10%")  # fmt: skip
        layout = layout_by(profile, frame, time=time, prediction=prediction, label=label,
                           events=traffic.is_log)  # fmt: skip
        where = given if stored else "as the log announces it"
        return Normal(profile, layout, 0, f"{profile.model}@{profile.version}, {where}{held}")
    given = given or "first:10%"
    wanted = parse_reference(given, len(frame))
    first = 0 if isinstance(wanted, Path) else wanted
    normal = read_frame(wanted) if isinstance(wanted, Path) else frame.iloc[:first]
    layout = layout_of(
        normal, time=time, prediction=prediction, label=label, categorical=categorical
    )
    wanted_columns = [f.column for f in layout.features]
    wanted_columns += [role for role in traffic.roles if role is not None]
    missing = [column for column in wanted_columns if column not in frame]
    if missing:
        raise BadSource(
            f"{traffic.source}: the reference has a column {missing[0]!r}, this file has not"
        )
    return Normal(normal, layout, first, f"{given}{held}", positive)


def _replay(
    frame: pd.DataFrame, normal: Normal, wished: Changes, config: Path | None, *, as_json: bool
) -> None:
    from driftline.commands.trial import live_spec, tried_spec  # noqa: PLC0415 - light imports
    from driftline.replay import report  # noqa: PLC0415
    from driftline.replay.comparison import compared, comparison_lines  # noqa: PLC0415
    from driftline.replay.injected import findings  # noqa: PLC0415
    from driftline.replay.refusal import BadSource  # noqa: PLC0415
    from driftline.replay.run import replay as run  # noqa: PLC0415
    from stream_monitor.reference.profile import ReferenceProfile  # noqa: PLC0415

    reference, layout, first, says, positive = normal
    if wished.segments and isinstance(reference, ReferenceProfile):
        raise BadSource("--segment: a profile brings its own segments",
                        fix="driftline profile build --segment")  # fmt: skip
    changes = _injections(
        wished.inject, {f.column: f.kind for f in layout.features}, first, len(frame)
    )
    rest = frame.iloc[first:]
    specs = [live_spec()] if config is None else [tried_spec(config), live_spec()]
    segments = _segments(wished.segments, layout)
    results = [
        run(
            reference, rest, layout, spec, first=first, injections=changes, segments=segments,
            positive=positive,
        )
        for spec in specs
    ]  # fmt: skip
    chosen = results[0]
    both = list(zip(specs, [result.episodes for result in results], strict=True))
    against = None if config is None else compared(both[0], both[1])
    found = findings(changes, chosen.episodes)
    data = report.summary(chosen, layout, found, against)
    columns = [
        "Columns", *report.layout_lines(layout, chosen), "", "Reference", f"  {says}",
    ]  # fmt: skip
    lines = [
        *columns, "",
        "Episodes", *report.episode_lines(chosen.episodes),
        *report.finding_lines(found),
        *(comparison_lines(against) if against else []),
        "", *report.summary_lines(data, chosen),
    ]  # fmt: skip
    if as_json:
        for episode in chosen.episodes:
            write_json(episode, indent=0)
        write_json(data, indent=0)
        note("\n".join(columns))
    else:
        sys.stdout.write("\n".join(lines) + "\n")


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
    name_of = {feature.column: feature.name for feature in layout.features}
    declared = []
    for text in texts:
        column, equals, value = text.partition("=")
        if column not in name_of:
            raise Failure(
                f"--segment: {column!r} is no watched column",
                fix=f"one of {', '.join(sorted(name_of))}",
                code=USAGE,
            )
        declared.append(f"{name_of[column]}{equals}{value}")
    return declared
