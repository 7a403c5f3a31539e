"""Files of rows in commands: how one is read, and how a command names what it leaves out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from driftline.cli.command_error import EXIT_USAGE, CommandError
from driftline.cli.output import note

if TYPE_CHECKING:
    import pandas as pd

    from driftline.offline.tables.layout import Layout
    from driftline.offline.tables.read_options import ReadOptions
    from driftline.offline.tables.table_reader import Table

_FILES_EXTRA_LIBRARIES: Final = ("pandas", "pyarrow", "numpy", "scipy", "pydantic_settings")
_SHOWN: Final = 40


@contextlib.contextmanager
def files_extra_required() -> Iterator[None]:
    """Turns the lack of a library that reads files into the name of the extra that has it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in _FILES_EXTRA_LIBRARIES:
            raise
        raise CommandError(
            "commands that read files need more than the client",
            why=f"no module named {error.name}",
            fix="pip install 'driftline[files]'",
            code=EXIT_USAGE,
        ) from error


@contextlib.contextmanager
def file_errors_explained() -> Iterator[None]:
    """Turns what is wrong with a file into what a person reads."""
    with files_extra_required():
        from driftline.offline.tables.source_error import SourceError  # noqa: PLC0415 - light imports

    try:
        with files_extra_required():
            yield
    except SourceError as bad:
        raise CommandError(str(bad), fix=bad.fix, code=EXIT_USAGE) from bad


def read_rows(
    path: Path,
    read_options: ReadOptions,
    *,
    prediction: str | None = None,
    allow_missing_columns: bool = False,
) -> Table:
    """All rows of a file; what a person should know of its reading goes to stderr.

    ``prediction`` is the column that JSON objects may lack; ``allow_missing_columns``: options may
    name columns that this file lacks.

    Raises:
        SourceError: it cannot be read.
    """
    import msgspec  # noqa: PLC0415 - light imports

    from driftline.offline.tables.table_reader import read_table  # noqa: PLC0415

    read_options = msgspec.structs.replace(
        read_options, allow_missing_columns=allow_missing_columns
    )
    table = read_table(path, read_options, prediction=prediction)
    note_read_warnings(table.source, table.notes)
    return table


def note_read_warnings(source: str, notes: list[str]) -> None:
    """What a person should know of how a file was read."""
    for text in notes:
        note(f"{source}: {text}")


def note_unwatched_columns(left_out: Mapping[str, str]) -> None:
    """One line on stderr for each column that is not watched, with its reason."""
    for name, why in list(left_out.items())[:_SHOWN]:
        note(f"not watched: {name}: {why}")
    if len(left_out) > _SHOWN:
        note(f"not watched: {len(left_out) - _SHOWN:,} more columns (driftline inspect names them)")


def note_changes(frame: pd.DataFrame, layout: Layout) -> None:
    """One line on stderr for each number whose level changes among the rows of a reference."""
    from driftline.offline.explain.reference_change import change_within  # noqa: PLC0415
    from driftline.offline.tables.convert import floats_of  # noqa: PLC0415

    changes = {
        feature.column: change_within(floats_of(frame[feature.column]))
        for feature in layout.features
        if feature.kind == "numeric"
    }
    found = {name: change.words() for name, change in changes.items() if change is not None}
    for name, words in list(found.items())[:_SHOWN]:
        note(f"{name}: {words}")
    if len(found) > _SHOWN:
        note(f"the reference itself changes in {len(found) - _SHOWN:,} more columns")
