"""Files of rows in commands: how one is read, and how a command names what it leaves out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from driftline.commands.failure import USAGE, Failure
from driftline.commands.output import note

if TYPE_CHECKING:
    import pandas as pd

    from driftline.tables.choices import Choices
    from driftline.tables.layout import Layout
    from driftline.tables.reader import Table

_NEEDED: Final = ("pandas", "pyarrow", "numpy", "scipy", "pydantic_settings")
_SHOWN: Final = 40


@contextlib.contextmanager
def needs_files() -> Iterator[None]:
    """Turns the lack of a library that reads files into the name of the extra that has it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in _NEEDED:
            raise
        raise Failure(
            "commands that read files need more than the client",
            why=f"no module named {error.name}", fix="pip install 'driftline[files]'", code=USAGE,
        ) from error  # fmt: skip


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Turns what is wrong with a file into what a person reads."""
    with needs_files():
        from driftline.tables.refusal import BadSource  # noqa: PLC0415 - light imports

    try:
        with needs_files():
            yield
    except BadSource as bad:
        raise Failure(str(bad), fix=bad.fix, code=USAGE) from bad


def read_rows(
    path: Path, choices: Choices, *, prediction: str | None = None, lenient: bool = False
) -> Table:
    """All rows of a file; what a person should know of its reading goes to stderr.

    ``prediction`` is the column that JSON objects may lack; ``lenient``: options may name columns
    that this file lacks.

    Raises:
        BadSource: it cannot be read.
    """
    import msgspec  # noqa: PLC0415 - light imports

    from driftline.tables.reader import read_table  # noqa: PLC0415

    choices = msgspec.structs.replace(choices, lenient=lenient)
    table = read_table(path, choices, prediction=prediction)
    note_reading(table.source, table.notes)
    return table


def note_reading(source: str, notes: list[str]) -> None:
    """What a person should know of how a file was read."""
    for text in notes:
        note(f"{source}: {text}")


def note_left_out(left_out: Mapping[str, str]) -> None:
    """One line on stderr for each column that is not watched, with its reason."""
    for name, why in list(left_out.items())[:_SHOWN]:
        note(f"not watched: {name}: {why}")
    if len(left_out) > _SHOWN:
        note(f"not watched: {len(left_out) - _SHOWN:,} more columns (driftline inspect names them)")


def note_changes(frame: pd.DataFrame, layout: Layout) -> None:
    """One line on stderr for each number whose level changes among the rows of a reference."""
    from driftline.explain.reference_change import change_within  # noqa: PLC0415 - light imports
    from driftline.tables.convert import floats_of  # noqa: PLC0415

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
