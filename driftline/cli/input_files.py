"""Read a file of rows for a command, and report the columns that are not watched."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from driftline.cli.command_error import UsageError
from driftline.cli.output import note

if TYPE_CHECKING:
    import pandas as pd

    from driftline.offline.tables.layout import Layout
    from driftline.offline.tables.read_options import ReadOptions
    from driftline.offline.tables.table_reader import Table

_FILES_EXTRA_LIBRARIES: Final = (
    "pandas",
    "pyarrow",
    "numpy",
    "scipy",
    "pydantic_settings",
    "jinja2",
    "markupsafe",
)
_SHOWN: Final = 40


@contextlib.contextmanager
def files_extra_required() -> Iterator[None]:
    """Explain a missing library for reading files: name the extra to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in _FILES_EXTRA_LIBRARIES:
            raise
        raise UsageError(
            "the libraries that read files are not installed",
            why=f"no module named {error.name}",
            fix="pip install 'driftline[files]'",
        ) from error


@contextlib.contextmanager
def file_errors_explained() -> Iterator[None]:
    """Turn a `SourceError` about a file into a `CommandError`."""
    with files_extra_required():
        from driftline.offline.tables.source_error import SourceError  # noqa: PLC0415 - light imports

    try:
        with files_extra_required():
            yield
    except SourceError as bad:
        raise UsageError(str(bad), fix=bad.fix) from bad


def read_rows(
    path: Path,
    read_options: ReadOptions,
    *,
    prediction: str | None = None,
    allow_missing_columns: bool = False,
) -> Table:
    """All rows of a file; warnings about reading it are printed to stderr.

    JSON objects may lack the column ``prediction``.  With ``allow_missing_columns`` the options may
    name columns that the file does not have.

    Raises:
        SourceError: the file cannot be read.
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
    """Print warnings about how a file was read."""
    for text in notes:
        note(f"{source}: {text}")


def note_columns_not_watched(left_out: Mapping[str, str]) -> None:
    """Print one line on stderr for each column that is not watched, with the reason."""
    for name, why in list(left_out.items())[:_SHOWN]:
        note(f"not watched: {name}: {why}")
    if len(left_out) > _SHOWN:
        note(f"not watched: {len(left_out) - _SHOWN:,} more columns (driftline inspect lists them)")


def note_changes(frame: pd.DataFrame, layout: Layout) -> None:
    """Print one line on stderr for each number whose level changes within the reference."""
    from driftline.offline.explain.reference_limits import change_within  # noqa: PLC0415
    from driftline.offline.tables.convert import floats_of  # noqa: PLC0415

    changes = {
        feature.column: change_within(floats_of(frame[feature.column]))
        for feature in layout.features
        if feature.kind == "numeric"
    }
    found = {name: change.describe() for name, change in changes.items() if change is not None}
    for name, text in list(found.items())[:_SHOWN]:
        note(f"{name}: {text}")
    if len(found) > _SHOWN:
        note(f"{len(found) - _SHOWN:,} more columns change within the reference")
