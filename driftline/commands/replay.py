"""``driftline replay``: recorded traffic through the monitor's core."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import typer

from driftline.commands.options import (
    Bootstrap,
    Categorical,
    DecimalMark,
    Encoding,
    Ignore,
    Json,
    Numeric,
    Positive,
    Separator,
    Time,
    TimeFormat,
    choices_of,
)
from driftline.commands.replay_columns import (
    Changes,
    Traffic,
    normal_of,
    replay_columns,
    timed,
)
from driftline.commands.replay_log import replay_log
from driftline.commands.rows import read_rows, refusals

if TYPE_CHECKING:
    from driftline.replay.log import LogRange
    from driftline.replay.topic import Found
    from driftline.tables.choices import Choices
    from driftline.tables.layout import Roles
    from stream_monitor.reference.profile import ReferenceProfile

_TOPIC: Final = "topic:"


def replay(
    source: Annotated[
        str,
        typer.Argument(help="CSV, Parquet or JSON lines, a row an event; or topic:NAME, the log."),
    ],
    reference: Annotated[
        str | None,
        typer.Option(
            help="What was normal: first:10%, first:5000, a file of rows, or a stored profile.json "
            "\\[default: first:10%; of a topic, the profile that each version was announced with]."
        ),
    ] = None,
    time: Time = None,
    time_format: TimeFormat = None,
    label: Annotated[str | None, typer.Option(help="Column of the truth.")] = None,
    prediction: Annotated[str | None, typer.Option(help="Column of the predictions.")] = None,
    positive: Positive = None,
    ignore: Ignore = None,
    numeric: Numeric = None,
    categorical: Categorical = None,
    separator: Separator = None,
    decimal: DecimalMark = None,
    encoding: Encoding = None,
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

    A topic is replayed as it is, partition by partition: events, labels, model updates, commands
    and ticks of one model, each version against what it was announced with, or else its own first
    events.  Options that are about columns (--reference, --inject, --segment, the roles) replay
    its events and labels as the rows of a file, against one reference.
    """
    roles = (time, prediction, label)
    where = Range(model, since, upto, bootstrap_servers)
    choices = choices_of(
        ignore=ignore, numeric=numeric, categorical=categorical, separator=separator,
        decimal=decimal, encoding=encoding,
    )  # fmt: skip
    told = (reference, inject, segment, positive, time_format, *roles)
    with refusals():
        if source.startswith(_TOPIC) and not any(told) and choices == type(choices)():
            log = _log(source.removeprefix(_TOPIC), where)
            replay_log(log, config, from_within=since is not None, as_json=as_json)
            return
        stored = _stored(reference)
        traffic = _traffic(source, where, roles, reference, stored, choices)
        traffic = timed(traffic, time, time_format)
        normal = normal_of(traffic, reference, stored, choices, positive)
        changes = Changes(inject or [], segment or [])
        replay_columns(traffic.table.frame, normal, changes, config, as_json=as_json)


class Range(NamedTuple):
    """Which part of a topic is meant, and where the topic is."""

    model: str | None
    since: str | None
    upto: str | None
    bootstrap_servers: str | None


def _stored(reference: str | None) -> ReferenceProfile | None:
    from driftline.replay.stored import stored_profile  # noqa: PLC0415 - light imports

    return None if reference is None else stored_profile(Path(reference))


def _traffic(
    source: str, where: Range, roles: Roles, given: str | None, stored: ReferenceProfile | None,
    choices: Choices,
) -> Traffic:  # fmt: skip
    """The rows of a file, or of a topic, which says itself what is what."""
    from driftline.replay import topic  # noqa: PLC0415 - light imports
    from driftline.tables.reader import table_of  # noqa: PLC0415
    from driftline.tables.refusal import BadSource  # noqa: PLC0415

    if not source.startswith(_TOPIC):
        if where[:3] != (None, None, None):
            raise BadSource("--model, --from and --to choose from a topic, and this is a file",
                            fix="replay topic:driftline.events.v1")  # fmt: skip
        return Traffic(source, read_rows(Path(source), choices, prediction=roles[1]), roles)
    name = source.removeprefix(_TOPIC)
    frame, in_force, versions = topic.range_of(
        _found(name, where), where.model, name,
        profiled=stored is not None, announced=given is None,
    )  # fmt: skip
    own = (
        topic.TIME, topic.PREDICTION if topic.PREDICTION in frame else None,
        topic.LABEL if topic.LABEL in frame else None,
    )  # fmt: skip
    time, prediction, label = (role or mine for role, mine in zip(roles, own, strict=True))
    roles = (time, prediction, label)
    table = table_of(frame, name, choices)
    return Traffic(source, table, roles, in_force, tuple(versions), is_log=True)


def _log(name: str, where: Range) -> LogRange:
    """What the monitor would read of the model in that range."""
    from driftline.replay.log import log_of  # noqa: PLC0415 - light imports

    return log_of(_found(name, where), where.model, name)


def _found(name: str, where: Range) -> Found:
    from driftline.commands.trial import live_settings  # noqa: PLC0415 - light imports
    from driftline.replay.bounds import parse_bound  # noqa: PLC0415
    from driftline.replay.topic import read  # noqa: PLC0415

    settings = live_settings(bootstrap_servers=where.bootstrap_servers)
    since = parse_bound(where.since, "--from") if where.since is not None else None
    upto = parse_bound(where.upto, "--to") if where.upto is not None else None
    return read(settings.kafka.client(), name, since, upto)
