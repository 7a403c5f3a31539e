"""``driftline check``: compare two files column by column, for pipelines."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from driftline.cli.command_error import EXIT_CHECK_FAILED, UsageError
from driftline.cli.input_files import file_errors_explained, note_columns_not_watched, read_rows
from driftline.cli.option_groups import file_options, option_groups
from driftline.cli.options import Html, Json, Label, TimeFormat
from driftline.cli.output import write_json, write_line
from driftline.cli.report import now_ms, require_reports, write_report

if TYPE_CHECKING:
    from driftline.offline.check.column_check import ColumnCheck, TableComparison
    from driftline.offline.tables.layout import Layout
    from driftline.offline.tables.read_options import ReadOptions
    from driftline.offline.tables.table_reader import Table


class FailOn(StrEnum):
    """The kinds of differences that cause exit code 3."""

    drift = "drift"
    quality = "quality"
    any = "any"
    never = "never"


@option_groups(read_options=file_options)
def check(
    reference: Annotated[
        Path, typer.Argument(help="File with normal data: CSV, Parquet, JSON lines.")
    ],
    current: Annotated[Path, typer.Argument(help="File with current data.")],
    *,
    fail_on: Annotated[
        FailOn,
        typer.Option(
            help="What causes exit code 3.  drift: values moved, a column is gone, or most of its "
            "values became missing, invalid or unknown.  quality: columns are gone or new, or the "
            "share of missing, invalid or unknown values changed.  any: both.  never: nothing."
        ),
    ] = FailOn.any,
    time: Annotated[
        str | None, typer.Option(help="Column of the event time; it is not compared.")
    ] = None,
    time_format: TimeFormat = None,
    label: Label = None,
    prediction: Annotated[str | None, typer.Option(help="Column of the predictions.")] = None,
    read_options: ReadOptions,
    html: Html = None,
    as_json: Json = False,
) -> None:
    """Compare two files column by column; exit code 3 if they differ.

    Predictions and labels are compared like features.  Two files of the same distribution are
    reported as different about once in a thousand runs, over all columns.  Small differences are
    ignored: below a PSI of 0.02, or one percentage point of missing values.
    """
    require_reports(html)
    with file_errors_explained():
        from driftline.offline.check.column_check import compare_tables  # noqa: PLC0415 - light imports
        from driftline.offline.tables.event_times import times_ms, with_times  # noqa: PLC0415
        from driftline.offline.tables.layout import layout_of, require  # noqa: PLC0415
        from driftline.offline.tables.table_reader import with_outputs  # noqa: PLC0415

        normal = read_rows(reference, read_options, prediction=prediction)
        now = read_rows(current, read_options, prediction=prediction, allow_missing_columns=True)
        require(normal.inferred, time, prediction, label)
        if prediction is not None and prediction in now.inferred:
            normal, now = with_outputs(normal, prediction), with_outputs(now, prediction)
        layout = layout_of(normal, time=time)  # predictions and labels are compared, too
        for table in (normal, now):
            frame = with_times(table.frame, time, time_format)  # checks the format
            if time is not None and time in frame:
                times_ms(frame[time])
    note_columns_not_watched(layout.ignored)
    compared = compare_tables(normal, now, layout)
    columns = compared.columns
    if all(column.result == "not_compared" for column in columns):
        raise UsageError(
            "no column can be compared",
            where=str(reference),
            why=f"{columns[0].column}: {columns[0].explanation}",
            fix="use a reference with more rows",
        )
    shown = [
        column
        for column in columns
        if column.result != "not_compared" or column.column not in layout.ignored
    ]
    results = [column.result for column in columns]
    failed = any(_fails(column, fail_on) for column in columns)
    if as_json:
        write_json(
            {
                "reference_events": len(normal.frame),
                "events": len(now.frame),
                "failed": failed,
                "drift": results.count("drift"),
                "quality": results.count("quality"),
                "columns": shown,
                "ignored": layout.ignored,
            }
        )
    else:
        width = max(len(column.column) for column in columns)
        for column in shown:
            write_line(f"  {column.column:<{width}}  {column.result:<12}  {column.explanation}")
        found = {column.column for column in shown}
        for name, why in ((n, w) for n, w in layout.ignored.items() if n not in found):
            write_line(f"  {name:<{width}}  {'ignored':<12}  {why}")
    _write_html(html, compared, layout, (normal, now), failed=failed, fail_on=fail_on)
    if failed:
        raise typer.Exit(EXIT_CHECK_FAILED)


def _write_html(
    path: Path | None,
    compared: TableComparison,
    layout: Layout,
    tables: tuple[Table, Table],
    *,
    failed: bool,
    fail_on: FailOn,
) -> None:
    if path is None:
        return
    from driftline.report.check_document import ComparedTable, check_document  # noqa: PLC0415 - light imports
    from driftline.report.document import render  # noqa: PLC0415

    normal, now = (ComparedTable(table.source, len(table.frame)) for table in tables)
    document = check_document(
        compared, layout, (normal, now), failed=failed, fail_on=fail_on.value, made_ms=now_ms()
    )
    write_report(render(document), path)


def _fails(column: ColumnCheck, on: FailOn) -> bool:
    """Whether a column makes the check fail."""
    levels = {
        FailOn.drift: column.moved or column.lost,
        FailOn.quality: column.result == "quality",
        FailOn.any: column.result in ("drift", "quality"),
        FailOn.never: False,
    }
    return levels[on]
