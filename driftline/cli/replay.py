"""``driftline replay``: run recorded events through the monitor's core, without side effects."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import typer

from driftline.cli.candidate_settings import run_with_candidate
from driftline.cli.input_files import file_errors_explained, read_rows
from driftline.cli.option_groups import file_options, option_groups
from driftline.cli.options import (
    Bootstrap,
    Html,
    Json,
    Label,
    PositiveLabel,
    TimeColumn,
    TimeFormat,
)
from driftline.cli.replay_table import (
    RecordedTraffic,
    RequestedChanges,
    reference_of_replay,
    replay_table,
    show,
    with_parsed_times,
    write_replay_report,
)
from driftline.cli.report import require_reports

if TYPE_CHECKING:
    from driftline.offline.replay.topic_range import TopicRange
    from driftline.offline.replay.topic_table import TopicRecords
    from driftline.offline.tables.layout import Roles
    from driftline.offline.tables.read_options import ReadOptions
    from stream_monitor.reference.profile import ReferenceProfile

_TOPIC: Final = "topic:"


@option_groups(read_options=file_options)
def replay(
    source: Annotated[
        str,
        typer.Argument(
            help="CSV, Parquet or JSON lines with one event a row; or topic:NAME, an event topic."
        ),
    ],
    *,
    reference: Annotated[
        str | None,
        typer.Option(
            help="The normal data: first:10%, first:5000, a file of rows, or a profile.json "
            "\\[default: first:10%; for a topic, the profile announced for each version]."
        ),
    ] = None,
    time: TimeColumn = None,
    time_format: TimeFormat = None,
    label: Label = None,
    prediction: Annotated[str | None, typer.Option(help="Column of the predictions.")] = None,
    positive: PositiveLabel = None,
    read_options: ReadOptions,
    inject: Annotated[
        list[str] | None,
        typer.Option(help="Drift to inject, for example mean:temp:+0.5sd@50000; repeat."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            help="File of candidate settings; the result is compared with the live settings.",
        ),
    ] = None,
    segment: Annotated[
        list[str] | None,
        typer.Option(
            help="A column; each of its values is also watched separately.  Or one value: "
            "carrier=UA."
        ),
    ] = None,
    model: Annotated[str | None, typer.Option(help="For a topic: the model to replay.")] = None,
    since: Annotated[
        str | None, typer.Option("--from", help="For a topic: the first offset or append time.")
    ] = None,
    upto: Annotated[
        str | None,
        typer.Option("--to", help="For a topic: the offset or append time to stop before."),
    ] = None,
    bootstrap_servers: Bootstrap = None,
    html: Html = None,
    as_json: Json = False,
) -> None:
    """Show which episodes the monitor finds in recorded events.  Nothing is written.

    A file needs neither Kafka nor Redis.  The kind of each column is inferred and printed.  With
    --json there is one line for each episode, and the last line is the summary; with --config its
    "difference" compares candidate and live settings.

    A topic is replayed partition by partition with all events, labels, model updates, commands and
    ticks of one model.  Each version is compared with its announced profile, or with its own first
    events.  With an option about columns (--reference, --inject, --segment, --time, --label,
    --prediction, ...) only events and labels are replayed, as rows of a file with one reference.
    """
    require_reports(html)
    roles = (time, prediction, label)
    where = TopicSelection(model, since, upto, bootstrap_servers)
    column_options = (reference, inject, segment, positive, time_format, *roles)
    with file_errors_explained():
        if (
            source.startswith(_TOPIC)
            and not any(column_options)
            and read_options == type(read_options)()
        ):
            records = _topic_range(source.removeprefix(_TOPIC), where)
            within = since is not None
            show_topic_replay(records, config, from_within=within, html=html, as_json=as_json)
            return
        stored = _stored(reference)
        traffic = _traffic(source, where, roles, reference, stored, read_options)
        traffic = with_parsed_times(traffic, time, time_format)
        normal = reference_of_replay(traffic, reference, stored, read_options, positive)
        changes = RequestedChanges(inject or [], segment or [])
        replay_table(traffic, normal, changes, config, html=html, as_json=as_json)


class TopicSelection(NamedTuple):
    """The part of a topic to replay, and the brokers to read it from."""

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
    """The rows of a file or a topic; a topic names its own time, prediction and label."""
    from driftline.offline.replay import topic_table as topic  # noqa: PLC0415 - light imports
    from driftline.offline.tables.source_error import SourceError  # noqa: PLC0415
    from driftline.offline.tables.table_reader import table_of  # noqa: PLC0415

    if not source.startswith(_TOPIC):
        if where[:3] != (None, None, None):
            raise SourceError(
                "--model, --from and --to need a topic, and the source is a file",
                fix="replay topic:driftline.events.v1, or leave these options out",
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


def _topic_range(name: str, where: TopicSelection) -> TopicRange:
    """The records of the model that the monitor would read in that range."""
    from driftline.offline.replay.topic_range import topic_range_of  # noqa: PLC0415 - light imports

    return topic_range_of(_read_topic_records(name, where), where.model, name)


def _read_topic_records(name: str, where: TopicSelection) -> TopicRecords:
    from driftline.cli.candidate_settings import live_settings  # noqa: PLC0415 - light imports
    from driftline.offline.replay.range_bounds import parse_bound  # noqa: PLC0415
    from driftline.offline.replay.topic_table import read_topic_records  # noqa: PLC0415

    settings = live_settings(bootstrap_servers=where.bootstrap_servers)
    since = parse_bound(where.since, "--from") if where.since is not None else None
    upto = parse_bound(where.upto, "--to") if where.upto is not None else None
    return read_topic_records(settings.kafka.client(), name, since, upto)


_RANGE_START_NOTE: Final = (
    "  the replay lacks what the monitor learned before --from: the usual volume, open episodes, "
    "references of versions without a profile"
)


def show_topic_replay(
    records: TopicRange, config: Path | None, *, from_within: bool, html: Path | None, as_json: bool
) -> None:
    """Replay the records, print the result and write ``html``.

    ``from_within``: the range has a ``--from``.
    """
    from driftline.offline.replay import replay_report  # noqa: PLC0415 - light imports
    from driftline.offline.replay.settings_comparison import comparison_lines  # noqa: PLC0415
    from driftline.offline.replay.topic_replay import replay_topic  # noqa: PLC0415

    done = run_with_candidate(config, lambda spec: replay_topic(records, spec))
    chosen, spec, incidents, settings_difference = done
    data = replay_report.summary(chosen, [], settings_difference, incidents)
    data["versions"] = replay_report.version_data(chosen, spec.budget)
    data["coverage"] = chosen.coverage_episodes
    head = [
        "Topic",
        *replay_report.topic_lines(chosen, records),
        *([_RANGE_START_NOTE] if from_within else []),
        "",
        "Reference",
        *replay_report.version_lines(chosen, records.model, spec.budget),
        *replay_report.coverage_lines(chosen),
    ]
    middle = comparison_lines(settings_difference) if settings_difference else []
    show(head, middle, chosen, data, of="records", as_json=as_json)
    if html is not None:
        from driftline.report.replay_document import ReplayedTraffic  # noqa: PLC0415 - light imports

        versions = replay_report.version_lines(chosen, records.model, spec.budget)
        replayed = ReplayedTraffic(
            f"{_TOPIC}{records.topic}, model {records.model}",
            "; ".join(line.strip() for line in versions),
            chosen.profiles,
            replay_report.not_watched(chosen),
            str,
            "records",
        )
        write_replay_report(html, done, replayed)
