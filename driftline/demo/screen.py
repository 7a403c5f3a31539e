"""Show the demo on a terminal: plain lines, or a progress bar with lines above it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import IO, Any, Final, Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from producer.printable import printable
from stream_monitor.contracts import DriftAlert, Phase, Severity
from trainer.contracts import RetrainEvent, Step

_COLOUR: Final[dict[Severity, str]] = {"low": "yellow", "medium": "dark_orange", "high": "red"}
_PHASE_LABELS: Final[dict[Phase, str]] = {
    "started": "DRIFT",
    "ongoing": "WORSE",
    "recovered": "recovered",
    "superseded": "superseded",
    "acknowledged": "acknowledged",
    "snoozed": "snoozed",
    "resolved": "resolved",
}
_STEP_LABELS: Final[dict[Step, str]] = {
    "requested": "RETRAIN",
    "declined": "no retrain",
    "failed": "FIT FAILED",
    "rejected": "rejected",
    "proposed": "proposed",
    "promoted": "PROMOTED",
    "rolled_back": "ROLLED BACK",
}
_SHOWN_RULES: Final = {"data_quality", "too_few_labels"}
_HEAD_WIDTH: Final = 31
_EVERY: Final = 0.1
"""Plain lines report the progress at every tenth of the year."""


class Screen(Protocol):
    """Output of the demo."""

    def print_line(self, text: str) -> None:
        """Print a line."""
        ...

    def alert(self, alert: DriftAlert, elapsed_s: float) -> None:
        """Show an alert, ``elapsed_s`` after the start of the command."""
        ...

    def retrain(self, event: RetrainEvent, elapsed_s: float) -> None:
        """Show a step of a retrain."""
        ...

    def progress(self, done: int, of: int, event_time_ms: int) -> None:
        """Show the progress of the year."""
        ...

    def close(self) -> None:
        """End the display of the progress."""
        ...


def alert_text(alert: DriftAlert) -> tuple[str, str]:
    """An alert as two texts: event time, phase and severity; and its sentence."""
    decided = datetime.fromtimestamp(alert.decided_ms / 1000, UTC)
    return (
        f"{decided:%d %b %H:%M}  {_PHASE_LABELS[alert.phase]:<10} {alert.severity:<6}",
        alert.explanation,
    )


def retrain_text(event: RetrainEvent) -> tuple[str, str] | None:
    """A step of a retrain as two texts, or ``None`` if it is not shown.

    The first has event time and step, the second the reason.
    """
    label = _STEP_LABELS.get(event.step)
    if label is None or (event.step == "declined" and event.rule not in _SHOWN_RULES):
        return None
    moment = datetime.fromtimestamp(event.time_ms / 1000, UTC)
    challenger = f"version {event.challenger}: " if event.challenger else ""
    reason = event.reason
    if event.step == "requested" and event.episode_id is not None:
        reason = "drift is confirmed: a new model is trained when the labels have arrived"
    elif event.rule == "data_quality":
        series = str(event.numbers.get("series")).removeprefix("feature/")
        reason = f"{series} has broken data: correct its source instead of retraining"
    return f"{moment:%d %b %H:%M}  {label:<12}", challenger + reason


class PlainScreen:
    """Plain lines on a stream, without colour."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._reported = 0.0

    def print_line(self, text: str) -> None:
        """Print a line."""
        self._stream.write(printable(text) + "\n")
        self._stream.flush()

    def alert(self, alert: DriftAlert, elapsed_s: float) -> None:
        """See `Screen`."""
        self.print_line(f"{elapsed_s:6.1f} s  " + "  ".join(alert_text(alert)))

    def retrain(self, event: RetrainEvent, elapsed_s: float) -> None:
        """See `Screen`."""
        if text := retrain_text(event):
            self.print_line(f"{elapsed_s:6.1f} s  " + "  ".join(text))

    def progress(self, done: int, of: int, event_time_ms: int) -> None:
        """See `Screen`."""
        if of and done / of >= self._reported + _EVERY:
            self._reported = done / of // _EVERY * _EVERY
            self.print_line(
                f"          {_day(event_time_ms)}: {done:,} of {of:,} events and labels"
            )

    def close(self) -> None:
        """See `Screen`."""


class RichScreen:
    """A progress bar on a terminal, alerts in colour above it."""

    def __init__(self, stream: IO[str]) -> None:
        self._console = Console(file=stream, highlight=False, emoji=False)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,} of {task.total:,}"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        self._task: TaskID | None = None

    def print_line(self, text: str) -> None:
        """See `Screen`."""
        self._console.print(escape(printable(text)))

    def alert(self, alert: DriftAlert, elapsed_s: float) -> None:
        """See `Screen`."""
        del elapsed_s  # not shown on a terminal
        head, sentence = alert_text(alert)
        style = "green" if alert.phase == "recovered" else _COLOUR[alert.severity]
        self._two_columns(head, sentence, style)

    def retrain(self, event: RetrainEvent, elapsed_s: float) -> None:
        """See `Screen`."""
        del elapsed_s
        if text := retrain_text(event):
            self._two_columns(*text, "bold cyan" if event.step == "promoted" else "cyan")

    def _two_columns(self, head: str, sentence: str, style: str) -> None:
        """Print ``head`` and, wrapped in a second column, ``sentence``."""
        row = Table.grid(padding=(0, 2, 0, 0))
        row.add_column(no_wrap=True, min_width=_HEAD_WIDTH)
        row.add_column()
        row.add_row(f"[{style}]{escape(printable(head))}[/]", escape(printable(sentence)))
        self._console.print(row)

    def progress(self, done: int, of: int, event_time_ms: int) -> None:
        """See `Screen`."""
        if self._task is None:
            self._bar.start()
            self._task = self._bar.add_task("", total=of)
        self._bar.update(self._task, completed=done, description=_day(event_time_ms))

    def close(self) -> None:
        """See `Screen`."""
        self._bar.stop()


def _other_ends(retrains: Mapping[str, int]) -> str:
    """The requested retrains that were neither promoted nor rejected, as text.

    >>> _other_ends({"failed": 0, "cancelled": 2, "unfinished": 1})
    ', 2 cancelled, 1 not finished'
    """
    named = {"failed": "failed", "cancelled": "cancelled", "unfinished": "not finished"}
    return "".join(f", {retrains[key]} {name}" for key, name in named.items() if retrains[key])


def _day(event_time_ms: int) -> str:
    return f"{datetime.fromtimestamp(event_time_ms / 1000, UTC):%d %b %Y}"


def summary_lines(summary: Mapping[str, Any]) -> list[str]:
    """The summary as text.  Every number was read back from Kafka or Redis."""
    events, labels, episodes = summary["events"], summary["labels"], summary["episodes"]
    retrains, errors, seconds = summary["retrains"], summary["error_rate"], summary["seconds"]
    found = "found, with its cause" if summary["unit_break_found"] else "NOT found"
    first = "none" if seconds["first_alert"] is None else f"after {seconds['first_alert']} s"
    return [
        "",
        (
            f"  events     {events['produced']:,} written, {events['processed']:,} processed, "
            f"{events['dead_lettered']:,} rejected, {events['lost']:,} lost"
        ),
        f"  labels     {labels['produced']:,} written, {labels['joined']:,} joined",
        (
            f"  episodes   {episodes['started']} started, {episodes['recovered']} recovered, "
            f"{episodes['superseded']} superseded ({summary['alerts']} alerts)"
        ),
        f"  incident   ten days of temperatures in °C: {found}",
        (
            f"  retrains   {retrains['requested']} requested: {retrains['promoted']} promoted, "
            f"{retrains['rejected']} rejected{_other_ends(retrains)}; "
            f"{retrains['refused_data_quality']} declined because of broken data"
        ),
        (
            f"  model      {errors['driftline']:.1%} wrong predictions; "
            f"{errors['frozen']:.1%} without retraining, {errors['scheduled']:.1%} with "
            f"{retrains['scheduled']} fits, one every month"
        ),
        f"  time       first alert {first}, {seconds['total']} s in all",
    ]
