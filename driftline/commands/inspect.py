"""``driftline inspect``: what the columns of a file are taken for, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from driftline.commands.failure import USAGE, Failure
from driftline.commands.options import (
    Categorical,
    DecimalMark,
    Encoding,
    Ignore,
    Json,
    Numeric,
    Separator,
    choices_of,
)
from driftline.commands.output import write_json, write_lines
from driftline.commands.rows import refusals


def inspect(
    file: Annotated[Path, typer.Argument(help="CSV and the like, JSON, Parquet, Arrow.")],
    ignore: Ignore = None,
    numeric: Numeric = None,
    categorical: Categorical = None,
    separator: Separator = None,
    decimal: DecimalMark = None,
    encoding: Encoding = None,
    *,
    as_json: Json = False,
) -> None:
    """What is each column of a file, why, and what will not be watched?

    Every command that reads rows (replay, check, profile build, publish, explain) reads them in
    this way, with the same options.
    """
    choices = choices_of(
        ignore=ignore, numeric=numeric, categorical=categorical, separator=separator,
        decimal=decimal, encoding=encoding,
    )  # fmt: skip
    with refusals():
        from driftline.tables.reader import open_table  # noqa: PLC0415 - light imports
        from driftline.tables.report import as_data, as_lines  # noqa: PLC0415

        found = open_table(file, choices)
    if as_json:
        write_json(as_data(found))
    else:
        write_lines(as_lines(found))
    if all(one.skipped for one in found.judged.values()):
        raise Failure(
            "nothing of it can be watched", where=str(file),
            fix="--numeric or --categorical name what a column holds", code=USAGE,
        )  # fmt: skip
