"""``driftline profile``: the reference of a model version, made from a file and put in the log."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import typer

from driftline.cli.command_error import EXIT_USAGE, CommandError
from driftline.cli.connection import load_settings
from driftline.cli.input_files import (
    file_errors_explained,
    note_changes,
    note_unwatched_columns,
    read_rows,
)
from driftline.cli.options import (
    Bootstrap,
    Categorical,
    Config,
    DecimalMark,
    Encoding,
    Ignore,
    Numeric,
    PositiveLabel,
    Prefix,
    Separator,
    TimeColumn,
    TimeFormat,
    read_options_of,
)
from driftline.cli.output import note, write_json
from producer.names import version_key

if TYPE_CHECKING:
    from stream_monitor.reference.profile import ReferenceProfile

app = typer.Typer(no_args_is_help=True, help="Reference profiles: what a model was trained on.")


def _importances(given: list[str], features: list[str]) -> dict[str, float]:
    """Numbers by feature.  Raises Failure where one is none, or of what is no feature."""
    found: dict[str, float] = {}
    for text in given:
        name, _, number = text.rpartition("=")
        try:
            found[name] = float(number)
        except ValueError:
            found[name] = math.nan
        if name not in features or not 0 <= found[name] < math.inf:
            raise CommandError(
                f"--importance {text}",
                why="no such feature" if name not in features else "no number from 0 on",
                fix=f"write NAME=NUMBER; the features are {', '.join(features)}",
                code=EXIT_USAGE,
            )
    return found


def _ranges(given: list[str], features: list[str]) -> dict[str, tuple[float | None, float | None]]:
    """Lowest and highest value by feature.  Raises Failure where it is none, or of what is none."""
    found: dict[str, tuple[float | None, float | None]] = {}
    for text in given:
        name, _, ends = text.rpartition("=")
        low, colon, high = ends.partition(":")
        try:
            found[name] = (float(low) if low else None, float(high) if high else None)
        except ValueError:
            colon = ""
        if name not in features or not colon:
            raise CommandError(
                f"--range {text}",
                why="no such feature" if name not in features else "no two numbers",
                fix=f"write NAME=LOWEST:HIGHEST, as age=0:120, or age=0: for an open end; the "
                f"features are {', '.join(features)}",
                code=EXIT_USAGE,
            )
    return found


@app.command()
def build(
    file: Annotated[Path, typer.Argument(help="Training data: CSV and the like, JSON, Parquet.")],
    model: Annotated[str, typer.Option(help="Name of the model.")],
    version: Annotated[str, typer.Option(help="Version of the model.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to \\[default: stdout].")
    ] = None,
    prediction: Annotated[
        str | None, typer.Option(help="Column of the predictions (out of fold, best).")
    ] = None,
    label: Annotated[str | None, typer.Option(help="Column of the truth.")] = None,
    positive: PositiveLabel = None,
    time: TimeColumn = None,
    time_format: TimeFormat = None,
    feature: Annotated[
        list[str] | None, typer.Option(help="A feature; repeat \\[default: all other columns].")
    ] = None,
    ignore: Ignore = None,
    numeric: Numeric = None,
    task: Annotated[
        Literal["binary", "multiclass", "regression"] | None,
        typer.Option(help="\\[default: what the predictions look like]"),
    ] = None,
    categorical: Categorical = None,
    separator: Separator = None,
    decimal: DecimalMark = None,
    encoding: Encoding = None,
    segment: Annotated[
        list[str] | None,
        typer.Option(help="A column whose values are watched by themselves, or origin=EWR."),
    ] = None,
    importance: Annotated[
        list[str] | None,
        typer.Option(help="How much the model relies on a feature: tenure=0.4; repeat."),
    ] = None,
    ranges: Annotated[
        list[str] | None,
        typer.Option(
            "--range",
            help="Lowest and highest value of a feature: age=0:120; repeat "
            "\\[default: what its values prove].",
        ),
    ] = None,
    events_per_week: Annotated[
        float | None,
        typer.Option(
            help="Of the whole traffic, for a budget per week \\[default: by --time]; say it "
            "where the file is a sample."
        ),
    ] = None,
) -> None:
    """Make a profile from the data a model was trained on.

    With --time it learns a season of the hour or the week, where the data prove one, and how many
    events a week has.
    """
    read_options = read_options_of(
        ignore=ignore,
        numeric=numeric,
        categorical=categorical,
        separator=separator,
        decimal=decimal,
        encoding=encoding,
    )
    with file_errors_explained():
        from driftline.offline.tables.column_inference import codes_note  # noqa: PLC0415 - light imports
        from driftline.offline.tables.event_times import with_times  # noqa: PLC0415
        from driftline.offline.tables.layout import (  # noqa: PLC0415
            layout_of,
            missing_column_error,
            nothing_to_watch_error,
        )
        from driftline.offline.tables.reference_profile import profile_of  # noqa: PLC0415
        from driftline.offline.tables.source_error import SourceError  # noqa: PLC0415
        from stream_monitor.reference.profile import profile_to_data  # noqa: PLC0415
        from stream_monitor.reference.segment_reference import parse_segment  # noqa: PLC0415

        table = read_rows(file, read_options, prediction=prediction)
        table.frame = with_times(table.frame, time, time_format)
        for part in (parse_segment(text, table.inferred)[0] for text in segment or []):
            if part not in table.inferred:
                raise missing_column_error("--segment", part, table.inferred)
        layout = layout_of(
            table, time=time, prediction=prediction, label=label, features=tuple(feature or ())
        )
        important = _importances(importance or [], [f.name for f in layout.features])
        declared = _ranges(ranges or [], [f.name for f in layout.features])
        try:
            made = profile_of(
                table.frame,
                layout,
                model=model,
                version=version,
                segments=segment or [],
                positive=positive,
                task=task,
                importances=important,
                events_per_week=events_per_week,
                ranges=declared,
            )
        except SourceError:
            raise
        except ValueError as error:
            raise CommandError(
                "no profile can be made of it", where=str(file), why=str(error)
            ) from error
        left_out = layout.ignored | made.skipped
        if not made.features and made.prediction is None:
            raise nothing_to_watch_error(str(file), left_out)
    note_unwatched_columns(left_out)
    note_changes(table.frame, layout)
    if few := [name for name in layout.codes if name in made.features]:
        note(codes_note(few))
    _note_no_rate(made)
    _note_scope(made)
    data = profile_to_data(made)
    if output is None:
        write_json(data, indent=0)
    else:
        output.write_bytes(msgspec.json.encode(data))
        note(f"{output}: {len(made.features)} features, {len(table.frame)} rows")


@app.command()
def send(
    file: Annotated[Path, typer.Argument(help="A profile that `build` made.")],
    config: Config = None,
    bootstrap_servers: Bootstrap = None,
    prefix: Prefix = None,
    shards: Annotated[int, typer.Option(min=1, help="Of a hot model, as its servers have.")] = 1,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check only.")] = False,
) -> None:
    """Announce a model version: its profile goes into the log, before its first event."""
    from trainer.service.announce import announce  # noqa: PLC0415 - light imports

    made = read_profile(file)
    settings = load_settings(config, bootstrap_servers=bootstrap_servers, prefix=prefix)
    _note_no_rate(made)
    if not dry_run:
        announce(
            settings.kafka.bootstrap_servers,
            made,
            topic_prefix=settings.topics.prefix,
            shards=shards,
            librdkafka=settings.kafka.librdkafka,
        )
    note(f"{version_key(made.model, made.version)}: {'would be ' if dry_run else ''}announced")


def read_profile(file: Path) -> ReferenceProfile:
    """The profile in a file.

    Raises:
        CommandError: it holds none.
    """
    from stream_monitor.reference.profile import profile_from_data  # noqa: PLC0415 - light imports

    try:
        return profile_from_data(msgspec.json.decode(file.read_bytes()))
    except (ValueError, msgspec.MsgspecError) as error:
        raise CommandError(
            "that is no profile",
            where=str(file),
            why=str(error),
            fix="make it with: driftline profile build DATA --model M --version V -o profile.json",
            code=EXIT_USAGE,
        ) from error


def _note_scope(made: ReferenceProfile) -> None:
    """Say which seasons were proved, from how much, at what cost; and what is not watched."""
    from driftline.offline.explain.reference_limits import lines_of  # noqa: PLC0415 - light imports

    note(*lines_of(made))


def _note_no_rate(made: ReferenceProfile) -> None:
    """Say what a profile cannot do that knows no rate."""
    if made.events_per_week is None:
        note(
            "the profile knows no events a week: a budget per week would be held per events; "
            "give --time or --events-per-week to profile build"
        )
