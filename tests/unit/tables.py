"""Columns as the rows that events have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stream_monitor.ingest.table import Table


def table_of(columns: Mapping[str, Sequence[Any]], n_rows: int = 0) -> Table:
    """A table of these columns, or of so many empty rows."""
    if not columns:
        return Table([{}] * n_rows)
    return Table(
        [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    )
