"""``driftline init``: the files with which a model is watched, from its training data."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from driftline.cli.command_error import EXIT_USAGE, CommandError
from driftline.cli.option_groups import file_options, option_groups
from driftline.cli.output import write_line
from driftline.cli.profile import TrainingColumns, built_profile, training_columns
from producer.names import file_name

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
    from driftline.offline.first_files import settings_file, snippet  # noqa: PLC0415 - light imports
    from stream_monitor.reference.profile import profile_to_data  # noqa: PLC0415

    made = built_profile(file, read_options, columns, model=model, version=version)
    profile, reference = made.profile, f"{file_name(f'{model}-{version}')}.profile.json"
    contents = {
        "driftline.toml": settings_file(profile).encode(),
        reference: msgspec.json.encode(profile_to_data(profile)),
        "log_predictions.py": snippet(profile, made.table.frame, made.layout).encode(),
    }
    _write(folder, contents, force=force)
    write_line(f"{folder / 'driftline.toml'}: settings of driftline on this machine")
    write_line(
        f"{folder / reference}: what is normal, from {len(made.table.frame):,} rows: "
        f"{len(profile.features)} features"
    )
    write_line(f"{folder / 'log_predictions.py'}: a program that logs one prediction")
    words = ["--model", model, "--version", version, *columns_as_options(columns, read_options)]
    named = shlex.join(words)
    for line in (
        "",
        "Next, in that folder:",
        "  driftline up                                # Kafka, Redis, monitor, dashboard",
        "and in a second terminal, after the `export` lines that it prints:",
        f"  driftline profile send {shlex.quote(reference)}",
        "  python log_predictions.py",
        f"  driftline publish DATA {named}   # or a file of events",
    ):
        write_line(line)


def columns_as_options(columns: TrainingColumns, read_options: ReadOptions) -> list[str]:
    """The options with which `driftline publish` reads a file of the same columns."""
    found = []
    for name, value in (
        ("--prediction", columns.prediction),
        ("--label", columns.label),
        ("--time", columns.time),
        ("--time-format", columns.time_format),
        *(("--ignore", column) for column in read_options.ignore),
    ):
        found += [] if value is None else [name, value]
    return found


def _write(folder: Path, contents: dict[str, bytes], *, force: bool) -> None:
    """Write all files, or none of them.

    Raises:
        CommandError: a name of a file is not possible, or a file exists already.
    """
    present = [name for name in contents if (folder / name).exists()]
    if present and not force:
        raise CommandError(
            f"files of an earlier run exist: {', '.join(present)}",
            where=str(folder.resolve()),
            fix="give --force to replace them, or another --folder",
            code=EXIT_USAGE,
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
