"""``driftline report``: one HTML file about a live model; writes the reports of ``--html``, too."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from driftline.cli.command_error import EXIT_UNREACHABLE, CommandError
from driftline.cli.input_files import files_extra_required
from driftline.cli.option_groups import option_groups, server_settings
from driftline.cli.options import duration_ms
from driftline.cli.output import note, write_file, write_line

if TYPE_CHECKING:
    from driftline.report.document import Document
    from stream_monitor.settings import Settings


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
    write_file(html.encode(), path, "the report", "--html report.html")
    note(f"report: {path}")


def now_ms() -> int:
    """The time at which a report is made."""
    return round(time.time() * 1000)


@option_groups(settings=server_settings)
def report(
    model: Annotated[str, typer.Argument(help="The model.")],
    *,
    html: Annotated[Path, typer.Option("--html", help="The file to write.")],
    settings: Settings,
    since: Annotated[
        str,
        typer.Option(
            help="How far back from the newest event of the model, in event time: 12h, 7d."
        ),
    ] = "7d",
) -> None:
    """Write a report of a live model: what changed, what was decided, what was watched.

    It reads Redis and the topics once, and writes one HTML file that loads nothing.

    Exit codes: 0 written, 1 unknown model, 2 wrong usage, 4 Kafka or Redis unreachable.
    """
    since_ms = duration_ms(since, option="--since")
    document = _document(settings, model, since_ms)
    if document is None:
        raise CommandError(
            f"no model is named {model!r}",
            why="neither Redis nor the alerts have it",
            fix="driftline status",
        )
    from driftline.report.document import render  # noqa: PLC0415 - light imports

    write_report(render(document), html)
    write_line(document.result)


def _document(settings: Settings, model: str, since_ms: int) -> Document | None:
    try:
        from driftline.report.model_document import ServerAway, live_document  # noqa: PLC0415 - light imports
    except ModuleNotFoundError as error:
        raise CommandError(
            f"the report needs {error.name}", fix="pip install 'driftline[dashboard]'"
        ) from error
    try:
        return live_document(settings, model, since_ms, now_ms())
    except ServerAway as error:
        raise CommandError(
            f"{error.name} does not answer",
            why=error.why,
            fix="driftline doctor",
            code=EXIT_UNREACHABLE,
        ) from error
