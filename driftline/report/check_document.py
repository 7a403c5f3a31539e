"""The report of a check: one row for each column, with its reference and current values."""

from __future__ import annotations

import time as clock
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from driftline.dashboard.pictures import Distribution, bin_names, histogram
from driftline.offline.check.column_check import (
    ALPHA,
    MIN_EFFECT,
    ColumnBins,
    ColumnCheck,
    TableComparison,
    compare_tables,
)
from driftline.offline.tables.event_times import with_times
from driftline.offline.tables.layout import Layout, layout_of
from driftline.offline.tables.source_error import SourceError
from driftline.offline.tables.table_reader import table_of
from driftline.report import CheckReport
from driftline.report.document import Document, Facts, Finding, FindingTable, Level, Picture, render
from stream_monitor.episodes.formatting import format_count, format_number, format_percent

if TYPE_CHECKING:
    import pandas as pd

_RESULTS: Final[dict[str, tuple[int, Level, str]]] = {
    "drift": (0, "high", "drift"),
    "quality": (1, "medium", "quality"),
    "ok": (2, "ok", "ok"),
    "not_compared": (3, "gone", "not compared"),
}
"""Order, level and label of each result."""


class ComparedTable(NamedTuple):
    """The name of a table, and the number of its rows."""

    name: str
    n_rows: int


def check_document(
    found: TableComparison,
    layout: Layout,
    tables: tuple[ComparedTable, ComparedTable],
    *,
    failed: bool,
    fail_on: str,
    made_ms: int,
) -> Document:
    """The report of a check; ``failed``: a column differs in the sense of ``fail_on``."""
    columns = sorted(found.columns, key=lambda one: _of(one)[0])
    shown = [c for c in columns if _of(c)[1] != "gone" or c.column not in layout.ignored]
    before, now = tables
    return Document(
        title=f"Check: {now.name}",
        compared=[
            ("Reference", f"{before.name}, {format_count(before.n_rows, 'row')}"),
            ("Current", f"{now.name}, {format_count(now.n_rows, 'row')}"),
        ],
        level=min((_of(c) for c in columns), default=_RESULTS["ok"])[1],
        result=_result(columns, failed=failed, fail_on=fail_on),
        tables=[
            FindingTable(
                title="Columns",
                heads=("Column", "Kind", "PSI", "Missing or invalid"),
                rows=[_row(one, is_binned=one.column in found.bins) for one in shown],
                empty="No column was compared.",
            )
        ],
        pictures=[
            _picture(one.column, found.bins[one.column])
            for one in columns
            if one.column in found.bins
        ],
        facts=[
            Facts("Not watched", list(layout.ignored.items()), "Every column was compared."),
            Facts("Settings", _settings(layout, fail_on), ""),
        ],
        made_ms=made_ms,
    )


def _of(one: ColumnCheck) -> tuple[int, Level, str]:
    return _RESULTS[one.result]


def _result(columns: Sequence[ColumnCheck], *, failed: bool, fail_on: str) -> str:
    labels = [_of(one)[2] for one in columns]
    n_drift, n_quality = labels.count("drift"), labels.count("quality")
    n_compared = len(labels) - labels.count("not compared")
    outcome = f"The check {'fails' if failed else 'passes'} (fail on: {fail_on})."
    if not n_drift + n_quality:
        return f"No difference in {format_count(n_compared, 'column')}. {outcome}"
    parts = [f"{n} {label}" for n, label in ((n_drift, "drift"), (n_quality, "quality")) if n]
    n_all = format_count(n_compared, "column")
    return f"{n_drift + n_quality} of {n_all} differ: {', '.join(parts)}. {outcome}"


def _row(one: ColumnCheck, *, is_binned: bool) -> Finding:
    _, level, label = _of(one)
    missing = f"{format_percent(one.missing_before)} → {format_percent(one.missing_now)}"
    return Finding(
        level=level,
        label=label,
        cells=(
            one.column,
            one.kind,
            format_number(one.effect) if is_binned else "",
            missing if is_binned else "",
        ),
        sentence=one.explanation,
    )


def _picture(column: str, bins: ColumnBins) -> Picture:
    n_before, n_now = sum(bins.before), sum(bins.now)
    shape = Distribution(
        labels=bins.names or bin_names(bins.fitted)[: len(bins.now)],
        before=[count / max(1, n_before) for count in bins.before],
        after=[count / max(1, n_now) for count in bins.now],
        n_before=n_before,
        n_after=n_now,
        ordered=bins.fitted.kind == "numeric",
    )
    return Picture(
        title=column,
        svg=histogram(shape),
        before=f"reference, n {n_before:,}",
        after=f"current, n {n_now:,}",
    )


def _settings(layout: Layout, fail_on: str) -> list[tuple[str, str]]:
    return [
        ("fail on", fail_on),
        ("time", layout.time or "no column"),
        ("significance", f"{ALPHA} over all columns (Holm's method)"),
        ("least difference", f"a PSI of {MIN_EFFECT}, or one percentage point of missing values"),
        ("PSI", "population stability index without the bias of few, dependent rows"),
    ]


def check_frames(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    *,
    time: str | None = None,
    names: tuple[str, str] = ("reference", "current"),
) -> CheckReport:
    """Compare two frames of rows, for `driftline.report.check`.

    Raises:
        SourceError: a column is missing, or no column can be compared.
    """
    normal, now = (
        table_of(frame.reset_index(drop=True), name)
        for frame, name in zip((reference, current), names, strict=True)
    )
    with_times(normal.frame, time, None)
    layout = layout_of(normal, time=time)
    found = compare_tables(normal, now, layout)
    labels = [_of(one)[2] for one in found.columns]
    if all(label == "not compared" for label in labels):
        raise SourceError(
            f"{names[0]}: no column can be compared: {found.columns[0].explanation}",
            fix="use a reference with more rows",
        )
    failed = not {"drift", "quality"}.isdisjoint(labels)
    sizes = [ComparedTable(n, len(t.frame)) for n, t in zip(names, (normal, now), strict=True)]
    document = check_document(
        found,
        layout,
        (sizes[0], sizes[1]),
        failed=failed,
        fail_on="any",
        made_ms=round(clock.time() * 1000),
    )
    return CheckReport(render(document), found.columns, layout.ignored, failed=failed)
