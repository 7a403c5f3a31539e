"""``driftline check``: two files against each other, for pipelines."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from driftline.commands.failure import CHECK_FAILED, USAGE, Failure
from driftline.commands.options import Categorical, Json
from driftline.commands.output import write_json, write_line

if TYPE_CHECKING:
    from driftline.replay.check import ColumnCheck


class FailOn(StrEnum):
    """What makes the exit code 3."""

    drift = "drift"
    quality = "quality"
    any = "any"
    never = "never"


def check(
    reference: Annotated[Path, typer.Argument(help="What was normal: CSV, Parquet, JSON lines.")],
    current: Annotated[Path, typer.Argument(help="What came now.")],
    fail_on: Annotated[
        FailOn,
        typer.Option(
            help="What makes the exit code 3.  drift: values that moved, a column that is gone, or "
            "most of which became missing, invalid or unseen.  quality: columns that are gone or "
            "new, other shares of missing, invalid or unseen values.  any: both.  never: nothing."
        ),
    ] = FailOn.any,
    time: Annotated[
        str | None, typer.Option(help="Column of event time: it is not compared.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="Column of the truth.")] = None,
    prediction: Annotated[str | None, typer.Option(help="Column of the predictions.")] = None,
    categorical: Categorical = None,
    *,
    as_json: Json = False,
) -> None:
    """Has anything changed between two files?  Exit code 3 where it has.

    Predictions and labels are compared like features.  All columns together are wrong about one
    time in a thousand, and only differences that matter count (PSI 0.02, or a point of missing
    values).
    """
    from driftline.replay.check import check as compare  # noqa: PLC0415 - light imports
    from driftline.replay.columns import layout_of  # noqa: PLC0415
    from driftline.replay.refusal import BadSource  # noqa: PLC0415
    from driftline.replay.source import read_frame  # noqa: PLC0415

    try:
        normal, now = read_frame(reference), read_frame(current)
        layout_of(normal, time=time, prediction=prediction, label=label)  # are they there?
        layout = layout_of(
            normal, time=time, prediction=None, label=None, categorical=categorical or []
        )
    except BadSource as bad:
        raise Failure(str(bad), fix=bad.fix, code=USAGE) from bad
    columns = compare(normal, now, layout)
    if all(column.verdict == "not_compared" for column in columns):
        raise Failure(
            "nothing can be compared", where=str(reference), why=columns[0].explanation,
            fix="a reference of more rows", code=USAGE,
        )  # fmt: skip
    verdicts = [column.verdict for column in columns]
    failed = any(_fails(column, fail_on) for column in columns)
    if as_json:
        write_json({
            "reference_events": len(normal), "events": len(now), "failed": failed,
            "drift": verdicts.count("drift"), "quality": verdicts.count("quality"),
            "columns": columns, "ignored": layout.ignored,
        })  # fmt: skip
    else:
        width = max(len(column.column) for column in columns)
        for column in columns:
            write_line(f"  {column.column:<{width}}  {column.verdict:<12}  {column.explanation}")
        for name, why in layout.ignored.items():
            write_line(f"  {name:<{width}}  {'ignored':<12}  {why}")
    if failed:
        raise typer.Exit(CHECK_FAILED)


def _fails(column: ColumnCheck, on: FailOn) -> bool:
    """Whether a column makes the check fail: a drift verdict, or data that is no longer there."""
    levels = {
        FailOn.drift: column.moved or column.lost,
        FailOn.quality: column.verdict == "quality",
        FailOn.any: column.verdict in ("drift", "quality"),
        FailOn.never: False,
    }
    return levels[on]
