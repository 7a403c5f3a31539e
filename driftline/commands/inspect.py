"""``driftline inspect``: what the columns of a file are taken for, and why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

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
    Time,
    TimeFormat,
    choices_of,
)
from driftline.commands.output import write_json, write_lines
from driftline.commands.rows import refusals

if TYPE_CHECKING:
    from driftline.tables.choices import Choices
    from driftline.tables.reader import TableFile

_ROWS: Final = 100_000  # that tell what is not watched of a number
_TIME: Final = "it is the time of each event (--time)"


def inspect(
    file: Annotated[Path, typer.Argument(help="CSV and the like, JSON, Parquet, Arrow.")],
    ignore: Ignore = None,
    numeric: Numeric = None,
    categorical: Categorical = None,
    time: Time = None,
    time_format: TimeFormat = None,
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
        from driftline.tables.layout import or_separated, require_names  # noqa: PLC0415
        from driftline.tables.reader import open_table  # noqa: PLC0415 - light imports
        from driftline.tables.report import as_data, as_lines  # noqa: PLC0415

        found = open_table(file, choices)
        if time is not None or time_format is not None:
            _read_times(file, choices, time, time_format)
            found.judged[str(time)] = found.judged[str(time)]._replace(kind="time", skipped=_TIME)
        in_part = _unwatched(found)
    if as_json:
        write_json({**as_data(found), "not_watched": in_part})
    else:
        write_lines(as_lines(found))
        write_lines(f"  {name}: {why}" for name, all_ in in_part.items() for why in all_)
    if all(one.skipped for one in found.judged.values()):
        raise Failure(
            "nothing of it can be watched", where=str(file),
            fix="--numeric or --categorical name what a column holds"
            + or_separated(found.judged), code=USAGE,
        )  # fmt: skip
    with refusals():
        require_names(found.judged)


def _read_times(file: Path, choices: Choices, time: str | None, written: str | None) -> None:
    """Raises BadSource where ``time`` is no column of times, as the commands that need it do."""
    from driftline.tables.layout import require  # noqa: PLC0415 - light imports
    from driftline.tables.reader import read_table  # noqa: PLC0415
    from driftline.tables.times import times_ms, with_times  # noqa: PLC0415

    table = read_table(file, choices)
    require(table.judged, time, None, None)
    frame = with_times(table.frame, time, written)
    times_ms(frame[str(time)])


def _unwatched(found: TableFile) -> dict[str, list[str]]:
    """What of its numbers a reference of the first rows would leave unwatched."""
    import numpy as np  # noqa: PLC0415 - light imports

    from driftline.explain.scope import unwatched_values  # noqa: PLC0415
    from driftline.tables.convert import floats_of  # noqa: PLC0415

    names = [
        name for name, one in found.judged.items() if one.kind == "numeric" and not one.skipped
    ]
    if not names:
        return {}
    parts, n_rows = [], 0
    for frame in found.frames():
        parts.append([floats_of(frame[name]) for name in names])
        n_rows += len(frame)
        if n_rows >= _ROWS:
            break
    columns = [np.concatenate(column)[:_ROWS] for column in zip(*parts, strict=True)]
    lines = {name: unwatched_values(values) for name, values in zip(names, columns, strict=True)}
    return {name: why for name, why in lines.items() if why}
