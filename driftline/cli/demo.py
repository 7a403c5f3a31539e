"""``driftline demo``: show the monitor and the trainer on a year of real flights."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from driftline.cli.command_error import EXIT_FAILED
from driftline.cli.options import Json
from driftline.cli.output import note, write_json

if TYPE_CHECKING:
    from driftline.demo.screen import Screen

_BEGAN = time.monotonic()
"""The start of the command, nearly: this module is among the first to be imported."""


def demo(
    seconds: Annotated[
        float, typer.Option(min=0, help="Duration of the year; 0 is as fast as possible.")
    ] = 36.0,
    *,
    headless: Annotated[
        bool, typer.Option("--headless", help="Print plain lines, no progress bar.")
    ] = False,
    as_json: Json = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep all running until Ctrl-C, as on a terminal.")
    ] = False,
    dashboard: Annotated[
        bool, typer.Option("--dashboard/--no-dashboard", help="Serve the dashboard, or not.")
    ] = True,
    plot: Annotated[
        Path | None, typer.Option(help="Write a plot of the error by month to this PNG file.")
    ] = None,
) -> None:
    """Show driftline on a year of real flights, in a minute, without Docker or Java.

    A model predicts late arrivals, and the monitor watches it live.  For ten days the temperature
    arrives in another unit.  The trainer retrains after real changes, but not on broken data.

    The address of the dashboard, which shows the same while it happens, is printed as soon as it
    answers.  On a terminal it stays up until Ctrl-C.

    The summary is read back from Kafka and Redis.  With --json it is the last line of stdout, and
    all other lines go to stderr.  Exit code 1 if a record or an alert was lost.
    """
    from driftline.demo.demo_runner import DemoResult, run  # noqa: PLC0415
    from driftline.demo.monthly_errors import draw, table_lines  # noqa: PLC0415
    from driftline.demo.screen import RichScreen, summary_lines  # noqa: PLC0415

    screen = _screen(headless=headless, as_json=as_json)

    def show(result: DemoResult) -> None:
        for line in summary_lines(result.summary):
            screen.print_line(line)
        for line in ("", *table_lines(result.months, result.errors)):
            screen.print_line(line)
        if plot is not None:
            draw(result.months, plot)
            screen.print_line(f"  plot       {plot}")
        if as_json:
            write_json(result.summary, indent=0)

    on_terminal = isinstance(screen, RichScreen) and dashboard and not as_json
    result = run(
        screen,
        seconds=seconds,
        keep=keep or on_terminal,
        began=_BEGAN,
        with_dashboard=dashboard,
        show=show,
    )
    if result.lost.total:
        note(f"driftline: {result.lost.total} records or alerts were lost: {result.lost}")
        raise typer.Exit(EXIT_FAILED)


def _screen(*, headless: bool, as_json: bool) -> Screen:
    from driftline.demo.screen import PlainScreen, RichScreen  # noqa: PLC0415 - light imports

    stream = sys.stderr if as_json else sys.stdout
    if headless or not stream.isatty() or os.environ.get("TERM") == "dumb":
        return PlainScreen(stream)
    return RichScreen(stream)
