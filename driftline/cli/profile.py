"""``driftline profile``: build the reference profile of a model version, and announce it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import msgspec
import typer

from driftline.cli.command_error import CommandError, UsageError
from driftline.cli.input_files import (
    file_errors_explained,
    note_changes,
    note_columns_not_watched,
    read_rows,
)
from driftline.cli.option_groups import file_options, kafka_settings, option_groups
from driftline.cli.options import (
    Label,
    PositiveLabel,
    Shards,
    TimeColumn,
    TimeFormat,
    TrainingPrediction,
)
from driftline.cli.output import note, write_file, write_json
from producer.names import InvalidName, require_name, version_key

if TYPE_CHECKING:
    from driftline.offline.tables.layout import Layout
    from driftline.offline.tables.read_options import ReadOptions
    from driftline.offline.tables.table_reader import Table
    from stream_monitor.reference.profile import ReferenceProfile, Task
    from stream_monitor.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Reference profiles: the data a model was trained on.")


def _importances(given: Sequence[str], features: list[str]) -> dict[str, float]:
    """The importance of each feature, from options ``NAME=NUMBER``.

    Raises:
        CommandError: a feature is unknown, or its number is not valid.
    """
    found: dict[str, float] = {}
    for text in given:
        name, _, number = text.rpartition("=")
        try:
            found[name] = float(number)
        except ValueError:
            found[name] = math.nan
        if name not in features or not 0 <= found[name] < math.inf:
            raise UsageError(
                f"--importance {text}",
                why="no such feature" if name not in features else "not a number from 0 up",
                fix=f"write NAME=NUMBER; the features are {', '.join(features)}",
            )
    return found


def _ranges(
    given: Sequence[str], features: list[str]
) -> dict[str, tuple[float | None, float | None]]:
    """The lowest and highest value of each feature, from options ``NAME=LOWEST:HIGHEST``.

    Raises:
        CommandError: a feature is unknown, or its limits are not numbers.
    """
    found: dict[str, tuple[float | None, float | None]] = {}
    for text in given:
        name, _, ends = text.rpartition("=")
        low, colon, high = ends.partition(":")
        try:
            found[name] = (float(low) if low else None, float(high) if high else None)
        except ValueError:
            colon = ""
        if name not in features or not colon:
            raise UsageError(
                f"--range {text}",
                why="no such feature" if name not in features else "not two numbers",
                fix="write NAME=LOWEST:HIGHEST, as in age=0:120, or age=0: without an upper limit; "
                f"the features are {', '.join(features)}",
            )
    return found


class TrainingColumns(NamedTuple):
    """Columns of the training data that are not features."""

    prediction: str | None
    label: str | None
    positive: str | None
    time: str | None
    time_format: str | None
    task: Task | None = None


def training_columns(
    prediction: TrainingPrediction = None,
    label: Label = None,
    positive: PositiveLabel = None,
    time: TimeColumn = None,
    time_format: TimeFormat = None,
    task: Annotated[
        Literal["binary", "multiclass", "regression"] | None,
        typer.Option(help="Kind of predictions \\[default: inferred from them]."),
    ] = None,
) -> TrainingColumns:
    """The options of the columns that are not features, and of the kind of predictions."""
    return TrainingColumns(prediction, label, positive, time, time_format, task)


@app.command()
@option_groups(columns=training_columns, read_options=file_options)
def build(
    file: Annotated[Path, typer.Argument(help="Training data: CSV, JSON or Parquet.")],
    model: Annotated[str, typer.Option(help="Name of the model.")],
    version: Annotated[str, typer.Option(help="Version of the model.")],
    *,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write \\[default: stdout].")
    ] = None,
    columns: TrainingColumns,
    feature: Annotated[
        list[str] | None,
        typer.Option(help="A feature; repeat the option \\[default: all other columns]."),
    ] = None,
    read_options: ReadOptions,
    segment: Annotated[
        list[str] | None,
        typer.Option(
            help="A column; each of its values is also watched separately.  Or one value: "
            "origin=EWR."
        ),
    ] = None,
    importance: Annotated[
        list[str] | None,
        typer.Option(help="Importance of a feature to the model: tenure=0.4; repeat."),
    ] = None,
    ranges: Annotated[
        list[str] | None,
        typer.Option(
            "--range",
            help="Lowest and highest valid value of a feature: age=0:120; repeat "
            "\\[default: inferred where its values prove them].",
        ),
    ] = None,
    events_per_week: Annotated[
        float | None,
        typer.Option(
            help="Events a week in production, for a budget per week; needed if the file is a "
            "sample \\[default: computed from --time]."
        ),
    ] = None,
) -> None:
    """Build a profile from the data that a model was trained on.

    With --time the profile includes a daily or weekly season, if the data prove one, and the number
    of events a week.
    """
    from stream_monitor.reference.profile import profile_to_data  # noqa: PLC0415 - light imports

    made = built_profile(
        file,
        read_options,
        columns,
        model=model,
        version=version,
        features=tuple(feature or ()),
        segments=segment or [],
        importances=importance or [],
        ranges=ranges or [],
        events_per_week=events_per_week,
    )
    data = profile_to_data(made.profile)
    if output is None:
        write_json(data, indent=0)
    else:
        write_file(msgspec.json.encode(data), output, "the profile", "-o profile.json")
        note(f"{output}: {len(made.profile.features)} features, {len(made.table.frame)} rows")


class BuiltProfile(NamedTuple):
    """A profile, and the rows and columns that it was built from."""

    profile: ReferenceProfile
    table: Table
    layout: Layout


def built_profile(
    file: Path,
    read_options: ReadOptions,
    columns: TrainingColumns,
    *,
    model: str,
    version: str,
    features: tuple[str, ...] = (),
    segments: Sequence[str] = (),
    importances: Sequence[str] = (),
    ranges: Sequence[str] = (),
    events_per_week: float | None = None,
) -> BuiltProfile:
    """Build a profile from a file, with the options of ``profile build``; prints what is left out.

    Raises:
        CommandError: the file cannot be read, or no profile can be built from it.
    """
    for option, name in (("--model", model), ("--version", version)):
        try:
            require_name(option.removeprefix("--"), name)
        except InvalidName as error:
            raise UsageError(str(error), fix=f"give another {option[2:]} name") from error
    with file_errors_explained():
        from driftline.offline.tables.event_times import with_times  # noqa: PLC0415
        from driftline.offline.tables.layout import (  # noqa: PLC0415
            layout_of,
            missing_column_error,
            nothing_to_watch_error,
            require_loggable,
        )
        from driftline.offline.tables.reference_profile import percentage_note, profile_of  # noqa: PLC0415
        from driftline.offline.tables.source_error import SourceError  # noqa: PLC0415
        from stream_monitor.reference.segment_reference import parse_segment  # noqa: PLC0415

        table = read_rows(file, read_options, prediction=columns.prediction)
        table.frame = with_times(table.frame, columns.time, columns.time_format)
        for part in (parse_segment(text, table.inferred)[0] for text in segments):
            if part not in table.inferred:
                raise missing_column_error("--segment", part, table.inferred)
        layout = layout_of(
            table,
            time=columns.time,
            prediction=columns.prediction,
            label=columns.label,
            features=features,
        )
        require_loggable(layout)
        important = _importances(importances, [f.name for f in layout.features])
        declared = _ranges(ranges, [f.name for f in layout.features])
        try:
            made = profile_of(
                table.frame,
                layout,
                model=model,
                version=version,
                segments=list(segments),
                positive=columns.positive,
                task=columns.task,
                importances=important,
                events_per_week=events_per_week,
                ranges=declared,
            )
        except SourceError:
            raise
        except ValueError as error:
            raise CommandError(
                "no profile can be built from the file", where=str(file), why=str(error)
            ) from error
        left_out = layout.ignored | made.skipped
        if not made.features and made.prediction is None:
            raise nothing_to_watch_error(str(file), left_out)
    note_columns_not_watched(left_out)
    note_changes(table.frame, layout)
    note(*layout.notes)
    if columns.task is None and (doubt := percentage_note(made, table.frame, layout)):
        note(doubt)
    _note_no_rate(made)
    _note_scope(made)
    return BuiltProfile(made, table, layout)


@app.command()
@option_groups(settings=kafka_settings)
def send(
    file: Annotated[Path, typer.Argument(help="A profile that `profile build` wrote.")],
    settings: Settings,
    shards: Shards = 1,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the profile, write nothing.")
    ] = False,
) -> None:
    """Announce a model version: write its profile to the event topic, before its first event."""
    from trainer.service.announce import announce  # noqa: PLC0415 - light imports

    made = read_profile(file)
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
        CommandError: the file does not hold a profile.
    """
    from stream_monitor.reference.profile import profile_from_data  # noqa: PLC0415 - light imports

    try:
        return profile_from_data(msgspec.json.decode(file.read_bytes()))
    except (ValueError, msgspec.MsgspecError) as error:
        raise UsageError(
            "the file is not a profile",
            where=str(file),
            why=str(error),
            fix="build one: driftline profile build DATA --model M --version V -o profile.json",
        ) from error


def _note_scope(made: ReferenceProfile) -> None:
    """Print the seasons of the profile, and the parts of features that are not watched."""
    from driftline.offline.explain.reference_limits import lines_of  # noqa: PLC0415 - light imports

    note(*lines_of(made))


def _note_no_rate(made: ReferenceProfile) -> None:
    """Print a note if the profile has no number of events a week."""
    if made.events_per_week is None:
        note(
            "the profile has no number of events a week; only a budget in [budget] per_weeks needs "
            "one: give --time or --events-per-week to profile build"
        )
