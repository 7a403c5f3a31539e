"""Report how a file was read, as text and as data."""

from __future__ import annotations

from typing import Any

from driftline.offline.tables.column_inference import InferredColumn, codes_note
from driftline.offline.tables.table_reader import TableFile
from producer.names import invalid_name_reason


def as_lines(table: TableFile) -> list[str]:
    """The report as text: a line for the file, and one for each column."""
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
