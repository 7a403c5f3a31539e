"""``driftline replay``: recorded traffic through the monitor's core."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeAlias

import typer

from driftline.commands.failure import USAGE, Failure
from driftline.commands.options import Bootstrap, Categorical, Json, Positive
from driftline.commands.output import note, write_json

if TYPE_CHECKING:
    import pandas as pd

    from driftline.replay.columns import Layout
    from producer.injection import Injection
    from stream_monitor.spec import MonitorSpec


def replay(
    source: Annotated[
        str,
        typer.Argument(help="CSV, Parquet or JSON lines, a row an event; or topic:NAME, the log."),
    ],
    reference: Annotated[
        str, typer.Option(help="What was normal: first:10%, first:5000, or a file.")
    ] = "first:10%",
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
        typer.Option("--config", help="Settings to try; compared with the live ones."),
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
    the summary as the last one.
    """
    from driftline.replay.refusal import BadSource  # noqa: PLC0415 - light imports

    try:
        roles = (time, prediction, label)
        where = Range(model, since, upto, bootstrap_servers)
        frame, roles = _frame(source, where, roles)
        changes = Changes(inject or [], segment or [])
        said = Said(roles, categorical or [], positive)
        _replay(frame, source, reference, said, changes, config, as_json=as_json)
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


class Said(NamedTuple):
    """What a person says of the columns: their roles, which are codes, which label is positive."""

    roles: Roles
    categorical: list[str]
    positive: str | None


def _frame(source: str, where: Range, roles: Roles) -> tuple[pd.DataFrame, Roles]:
    """The rows, and which columns are what: a topic says so itself."""
    from driftline.commands.connection import load_settings  # noqa: PLC0415 - light imports
    from driftline.replay import topic  # noqa: PLC0415
    from driftline.replay.refusal import BadSource  # noqa: PLC0415
    from driftline.replay.source import read_frame  # noqa: PLC0415

    if not source.startswith(topic.MARK):
        if where[:3] != (None, None, None):
            raise BadSource("--model, --from and --to choose from a topic, and this is a file",
                            fix="replay topic:driftline.events.v1")  # fmt: skip
        return read_frame(Path(source)), roles
    settings = load_settings(bootstrap_servers=where.bootstrap_servers)
    since = topic.parse_bound(where.since, "--from") if where.since is not None else None
    upto = topic.parse_bound(where.upto, "--to") if where.upto is not None else None
    name = source.removeprefix(topic.MARK)
    frame = topic.read_range(settings.kafka.client(), name, where.model, since, upto)
    own = (topic.TIME, topic.PREDICTION, topic.LABEL if topic.LABEL in frame else None)
    time, prediction, label = (role or mine for role, mine in zip(roles, own, strict=True))
    return frame, (time, prediction, label)


def _replay(
    frame: pd.DataFrame,
    source: str,
    reference: str,
    said: Said,
    wished: Changes,
    config: Path | None,
    *,
    as_json: bool,
) -> None:
    from driftline.replay import report  # noqa: PLC0415 - light imports
    from driftline.replay.columns import layout_of  # noqa: PLC0415
    from driftline.replay.episodes import only_in  # noqa: PLC0415
    from driftline.replay.injected import findings  # noqa: PLC0415
    from driftline.replay.reference import parse_reference  # noqa: PLC0415
    from driftline.replay.refusal import BadSource  # noqa: PLC0415
    from driftline.replay.run import replay as run  # noqa: PLC0415
    from driftline.replay.source import read_frame  # noqa: PLC0415

    time, prediction, label = said.roles
    wanted = parse_reference(reference, len(frame))
    first = 0 if isinstance(wanted, Path) else wanted
    normal = read_frame(wanted) if isinstance(wanted, Path) else frame.iloc[:first]
    layout = layout_of(
        normal, time=time, prediction=prediction, label=label, categorical=said.categorical
    )
    wanted_columns = [f.column for f in layout.features]
    wanted_columns += [role for role in said.roles if role is not None]
    missing = [column for column in wanted_columns if column not in frame]
    if missing:
        raise BadSource(f"{source}: the reference has a column {missing[0]!r}, this file has not")
    changes = _injections(
        wished.inject, {f.column: f.kind for f in layout.features}, first, len(frame)
    )
    rest = frame.iloc[first:]
    specs = [_spec(None)] if config is None else [_spec(config), _spec(None)]
    segments = _segments(wished.segments, layout)
    results = [
        run(
            normal, rest, layout, spec, first=first, injections=changes, segments=segments,
            positive=said.positive,
        )
        for spec in specs
    ]  # fmt: skip
    chosen = results[0]
    compared = None
    if config is not None:
        live = results[1]
        compared = report.Comparison(
            only_in(chosen.episodes, live.episodes), only_in(live.episodes, chosen.episodes)
        )
    found = findings(changes, chosen.episodes)
    data = report.summary(chosen, layout, found, compared)
    lines = [
        "Columns", *report.layout_lines(layout, chosen), "",
        "Episodes", *report.episode_lines(chosen.episodes),
        *report.finding_lines(found),
        *(report.comparison_lines(compared) if compared else []),
        "", *report.summary_lines(data, chosen),
    ]  # fmt: skip
    if as_json:
        for episode in chosen.episodes:
            write_json(episode, indent=0)
        write_json(data, indent=0)
        note("\n".join(["Columns", *report.layout_lines(layout, chosen)]))
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


def _spec(config: Path | None) -> MonitorSpec:
    """The live settings, or those of a file."""
    from driftline.commands.connection import load_settings  # noqa: PLC0415 - light imports

    arguments: dict[str, Any] = {} if config is None else {"config": config}
    try:
        return load_settings(**arguments).monitor_spec()
    except ValueError as error:
        raise Failure("a setting is wrong", why=str(error), code=USAGE) from error
