"""``driftline inspect``: show how each column of a file is interpreted, and why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from driftline.cli.command_error import UsageError
from driftline.cli.input_files import file_errors_explained
from driftline.cli.option_groups import file_options, option_groups
from driftline.cli.options import Json, TimeColumn, TimeFormat
from driftline.cli.output import write_json, write_lines
from producer.names import invalid_name_reason

if TYPE_CHECKING:
    from driftline.offline.tables.column_inference import InferredColumn
    from driftline.offline.tables.read_options import ReadOptions
    from driftline.offline.tables.table_reader import TableFile

_ROWS: Final = 100_000  # read to find the values of a number that are not watched
_TIME: Final = "the event time (--time)"


@option_groups(read_options=file_options)
def inspect(
    file: Annotated[Path, typer.Argument(help="CSV or similar text, JSON, Parquet or Arrow.")],
    read_options: ReadOptions,
    time: TimeColumn = None,
    time_format: TimeFormat = None,
    *,
    as_json: Json = False,
) -> None:
    """Show the kind of each column of a file, the reason, and what will not be watched.

    The commands that read rows (replay, check, profile build, publish, explain) interpret a file in
    the same way, with the same options.
    """
    with file_errors_explained():
        from driftline.cli.inspect import as_data, as_lines  # noqa: PLC0415
        from driftline.offline.tables.layout import require_names, separator_hint  # noqa: PLC0415
        from driftline.offline.tables.table_reader import open_table  # noqa: PLC0415 - light imports

        found = open_table(file, read_options)
        if time is not None or time_format is not None:
            _read_times(file, read_options, time, time_format)
            found.inferred[str(time)] = found.inferred[str(time)]._replace(
                kind="time", skipped=_TIME
            )
        in_part = _not_watched(found)
    if as_json:
        write_json({**as_data(found), "not_watched": in_part})
    else:
        write_lines(as_lines(found))
        write_lines(f"  {name}: {why}" for name, all_ in in_part.items() for why in all_)
    if all(one.skipped for one in found.inferred.values()):
        raise UsageError(
            "no column can be watched",
            where=str(file),
            fix="name the kind of a column with --numeric or --categorical"
            + separator_hint(found.inferred),
        )
    with file_errors_explained():
        require_names(found.inferred)


def _read_times(
    file: Path, read_options: ReadOptions, time: str | None, written: str | None
) -> None:
    """Check that ``time`` is a column of times.

    Raises:
        SourceError: there is no such column, or its values are not times in the given format.
    """
    from driftline.offline.tables.event_times import times_ms, with_times  # noqa: PLC0415
    from driftline.offline.tables.layout import require  # noqa: PLC0415 - light imports
    from driftline.offline.tables.table_reader import read_table  # noqa: PLC0415

    table = read_table(file, read_options)
    require(table.inferred, time, None, None)
    frame = with_times(table.frame, time, written)
    times_ms(frame[str(time)])


def _not_watched(found: TableFile) -> dict[str, list[str]]:
    """Values of each numeric column that a reference of the first rows would not cover."""
    import numpy as np  # noqa: PLC0415 - light imports

    from driftline.offline.explain.reference_limits import not_watched_values  # noqa: PLC0415
    from driftline.offline.tables.convert import floats_of  # noqa: PLC0415

    names = [
        name for name, one in found.inferred.items() if one.kind == "numeric" and not one.skipped
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
    lines = {name: not_watched_values(values) for name, values in zip(names, columns, strict=True)}
    return {name: why for name, why in lines.items() if why}


def as_lines(table: TableFile) -> list[str]:
    """The report as text: a line for the file, and one for each column."""
    from driftline.offline.tables.column_inference import codes_note  # noqa: PLC0415 - light imports

    form = ", ".join(
        f"{name} {value!r}" if name in ("separator", "decimal") else value
        for name, value in table.form.items()
    )
    width = max(map(len, table.inferred))
    lines = [f"{table.source}: {form}, {table.n_rows:,} rows", *(f"  {x}" for x in table.notes)]
    for name, one in table.inferred.items():
        kind = "not watched" if one.skipped else one.kind
        bad = invalid_name_reason(name)
        what = f"rejected: the name is not allowed, {bad}" if bad else _why(one)
        lines.append(f"  {name:<{width}}  {kind:<11}  {what}")
    if codes := [name for name, one in table.inferred.items() if one.codes and not one.skipped]:
        lines.append(f"  {codes_note(codes)}")
    return lines


def as_data(table: TableFile) -> dict[str, Any]:
    """The report as data."""
    return {
        "file": table.source,
        **table.form,
        "rows": table.n_rows,
        "columns": [
            {
                "name": name,
                "kind": one.kind,
                "why": one.why,
                "watched": not (one.skipped or bad),
                "not_watched_because": one.skipped or bad,
                "missing": one.missing,
                "invalid": one.odd,
                "may_be_codes": one.codes,
                "bad_name": bad,
            }
            for name, one in table.inferred.items()
            for bad in (invalid_name_reason(name),)
        ],
        "notes": table.notes,
    }


def _why(one: InferredColumn) -> str:
    counts = [
        f"{n:,} {what}" for n, what in ((one.missing, "missing"), (one.odd, "of another kind")) if n
    ]
    reason = one.skipped or one.why
    if one.skipped and one.kind not in ("none", "time") and one.why != one.skipped:
        reason += f" ({one.kind}: {one.why})"
    return ", ".join([reason, *counts])
