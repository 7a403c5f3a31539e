"""Write a report for ``--html``."""

from __future__ import annotations

import time
from pathlib import Path

from driftline.cli.command_error import EXIT_FAILED, CommandError
from driftline.cli.input_files import files_extra_required
from driftline.cli.output import note


def require_reports(path: Path | None) -> None:
    """If a report is wanted, fail before the work if the libraries of reports are missing."""
    if path is None:
        return
    with files_extra_required():
        import driftline.report.document  # noqa: F401, PLC0415 - light imports


def write_report(html: str, path: Path) -> None:
    """Write a report, and state on stderr where it is.

    Raises:
        CommandError: the file cannot be written.
    """
    try:
        path.write_text(html, "utf-8")
    except OSError as error:
        raise CommandError(
            "the report cannot be written",
            where=str(path),
            why=error.strerror or str(error),
            fix="name a file in a folder that exists: --html report.html",
            code=EXIT_FAILED,
        ) from error
    note(f"report: {path}")


def now_ms() -> int:
    """The time at which a report is made."""
    return round(time.time() * 1000)
