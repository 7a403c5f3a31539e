"""``driftline init``: the files with which a model is watched, from its training data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from driftline.cli.command_error import CommandError, UsageError
from driftline.cli.option_groups import file_options, option_groups
from driftline.cli.output import write_line
from driftline.cli.profile import TrainingColumns, built_profile, training_columns

if TYPE_CHECKING:
    from driftline.offline.tables.read_options import ReadOptions


@option_groups(columns=training_columns, read_options=file_options)
def init(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    file: Annotated[
        Path,
        typer.Option("--from", help="Training data: CSV, JSON or Parquet.", show_default=False),
    ],
    *,
    version: Annotated[str, typer.Option(help="Version of the model.")] = "1",
    columns: TrainingColumns,
    folder: Annotated[Path, typer.Option(help="Folder to write to.")] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
    read_options: ReadOptions,
) -> None:
    """Write what a model needs to be watched: its reference, settings, and a program that logs.

    The kind of each column is inferred as by `driftline inspect`; columns that are not watched are
    named on stderr.  Nothing is sent.
    """
    made = built_profile(file, read_options, columns, model=model, version=version)
    from driftline.offline.first_files import FirstFiles, columns_as_options  # noqa: PLC0415 - after the check for its libraries

    options = columns_as_options(
        prediction=columns.prediction,
        label=columns.label,
        time=columns.time,
        time_format=columns.time_format,
        read=read_options,
    )
    files = FirstFiles(made.profile, made.table.frame, made.layout, options)
    try:
        files.write(folder, force=force)
    except NotADirectoryError as error:
        raise UsageError(
            str(error), where=str(folder.resolve()), fix="give another --folder"
        ) from error
    except FileExistsError as error:
        raise UsageError(
            str(error),
            where=str(folder.resolve()),
            fix="give --force to replace them, or another --folder",
        ) from error
    except OSError as error:
        raise CommandError(
            "the files cannot be written",
            where=str(folder.resolve()),
            why=error.strerror or str(error),
            fix="give another --folder",
        ) from error
    for line in files.described(folder):
        write_line(line)
