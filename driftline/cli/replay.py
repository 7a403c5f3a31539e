"""``driftline replay``: recorded traffic through the monitor's core."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import typer

from driftline.cli.candidate_settings import run_with_candidate
from driftline.cli.input_files import file_errors_explained, read_rows
from driftline.cli.options import (
    Bootstrap,
    Categorical,
    DecimalMark,
    Encoding,
    Ignore,
    Json,
    Numeric,
    PositiveLabel,
    Separator,
    TimeColumn,
    TimeFormat,
    read_options_of,
)
from driftline.cli.replay_output import show
from driftline.cli.replay_table import (
    RecordedTraffic,
    RequestedChanges,
    reference_of_replay,
    replay_table,
    with_parsed_times,
)

if TYPE_CHECKING:
    from driftline.offline.replay.topic_range import TopicRange
    from driftline.offline.replay.topic_table import TopicRecords
    from driftline.offline.tables.layout import Roles
    from driftline.offline.tables.read_options import ReadOptions
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
    time: TimeColumn = None,
    time_format: TimeFormat = None,
    label: Annotated[str | None, typer.Option(help="Column of the truth.")] = None,
    prediction: Annotated[str | None, typer.Option(help="Column of the predictions.")] = None,
    positive: PositiveLabel = None,
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
    where = TopicSelection(model, since, upto, bootstrap_servers)
    read_options = read_options_of(
        ignore=ignore,
        numeric=numeric,
        categorical=categorical,
        separator=separator,
        decimal=decimal,
        encoding=encoding,
    )
    column_options = (reference, inject, segment, positive, time_format, *roles)
    with file_errors_explained():
        if (
            source.startswith(_TOPIC)
            and not any(column_options)
            and read_options == type(read_options)()
        ):
            log = _log(source.removeprefix(_TOPIC), where)
            replay_topic(log, config, from_within=since is not None, as_json=as_json)
            return
        stored = _stored(reference)
        traffic = _traffic(source, where, roles, reference, stored, read_options)
        traffic = with_parsed_times(traffic, time, time_format)
        normal = reference_of_replay(traffic, reference, stored, read_options, positive)
        changes = RequestedChanges(inject or [], segment or [])
        replay_table(traffic.table.frame, normal, changes, config, as_json=as_json)


class TopicSelection(NamedTuple):
    """Which part of a topic is meant, and where the topic is."""

    model: str | None
    since: str | None
    upto: str | None
    bootstrap_servers: str | None


def _stored(reference: str | None) -> ReferenceProfile | None:
    from driftline.offline.replay.stored_profile import stored_profile  # noqa: PLC0415 - light imports

    return None if reference is None else stored_profile(Path(reference))


def _traffic(
    source: str,
    where: TopicSelection,
    roles: Roles,
    given: str | None,
    stored: ReferenceProfile | None,
    read_options: ReadOptions,
) -> RecordedTraffic:
    """The rows of a file, or of a topic, which says itself what is what."""
    from driftline.offline.replay import topic_table as topic  # noqa: PLC0415 - light imports
    from driftline.offline.tables.source_error import SourceError  # noqa: PLC0415
    from driftline.offline.tables.table_reader import table_of  # noqa: PLC0415

    if not source.startswith(_TOPIC):
        if where[:3] != (None, None, None):
            raise SourceError(
                "--model, --from and --to choose from a topic, and this is a file",
                fix="replay topic:driftline.events.v1",
            )
        return RecordedTraffic(
            source, read_rows(Path(source), read_options, prediction=roles[1]), roles
        )
    name = source.removeprefix(_TOPIC)
    frame, in_force, versions = topic.topic_table_of(
        _read_topic_records(name, where),
        where.model,
        name,
        profiled=stored is not None,
        announced=given is None,
    )
    own = (
        topic.TIME,
        topic.PREDICTION if topic.PREDICTION in frame else None,
        topic.LABEL if topic.LABEL in frame else None,
    )
    time, prediction, label = (role or mine for role, mine in zip(roles, own, strict=True))
    roles = (time, prediction, label)
    table = table_of(frame, name, read_options)
    return RecordedTraffic(source, table, roles, in_force, tuple(versions), is_topic=True)


def _log(name: str, where: TopicSelection) -> TopicRange:
    """What the monitor would read of the model in that range."""
    from driftline.offline.replay.topic_range import topic_range_of  # noqa: PLC0415 - light imports

    return topic_range_of(_read_topic_records(name, where), where.model, name)


def _read_topic_records(name: str, where: TopicSelection) -> TopicRecords:
    from driftline.cli.candidate_settings import live_settings  # noqa: PLC0415 - light imports
    from driftline.offline.replay.range_bounds import parse_bound  # noqa: PLC0415
    from driftline.offline.replay.topic_table import read  # noqa: PLC0415

    settings = live_settings(bootstrap_servers=where.bootstrap_servers)
    since = parse_bound(where.since, "--from") if where.since is not None else None
    upto = parse_bound(where.upto, "--to") if where.upto is not None else None
    return read(settings.kafka.client(), name, since, upto)


if TYPE_CHECKING:
    from driftline.offline.replay.topic_range import TopicRange

_RANGE_START_NOTE: Final = (
    "  what the monitor had learnt before --from is not there: usual volume, open episodes, "
    "references of versions without a profile"
)


def replay_topic(log: TopicRange, config: Path | None, *, from_within: bool, as_json: bool) -> None:
    """Fold the records and show what came of it; ``from_within``: the range has a beginning."""
    from driftline.offline.replay import replay_report as report  # noqa: PLC0415 - light imports
    from driftline.offline.replay import topic_replay as fold  # noqa: PLC0415 - light imports
    from driftline.offline.replay import topic_replay_report as log_report  # noqa: PLC0415 - light imports
    from driftline.offline.replay.settings_comparison import comparison_lines  # noqa: PLC0415

    chosen, spec, incidents, settings_difference = run_with_candidate(
        config, lambda spec: fold.replay_topic(log, spec)
    )
    data = report.summary(chosen, [], settings_difference, incidents)
    data["versions"] = log_report.version_data(chosen, spec.budget)
    data["coverage"] = chosen.coverage_episodes
    head = [
        "Log",
        *log_report.log_lines(chosen, log),
        *([_RANGE_START_NOTE] if from_within else []),
        "",
        "Reference",
        *log_report.version_lines(chosen, log.model, spec.budget),
        *log_report.coverage_lines(chosen),
    ]
    middle = comparison_lines(settings_difference) if settings_difference else []
    show(head, middle, chosen, data, of="records", as_json=as_json)
