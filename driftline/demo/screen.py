"""What a person sees of the demo: plain lines, or a progress bar with lines above it."""

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
    "recovered": "over",
    "superseded": "ended",
    "acknowledged": "known",
    "snoozed": "quiet",
    "resolved": "ended",
}
_STEP_LABELS: Final[dict[Step, str]] = {
    "requested": "RETRAIN",
    "declined": "no retrain",
    "failed": "FIT FAILED",
    "rejected": "rejected",
    "promoted": "PROMOTED",
    "rolled_back": "ROLLED BACK",
}
_SHOWN_RULES: Final = {"data_quality", "too_few_labels"}
_HEAD_WIDTH: Final = 27
_EVERY: Final = 0.1
"""Plain lines tell the progress at every tenth of the way."""


class Screen(Protocol):
    """Where the demo shows itself."""

    def print_line(self, text: str) -> None:
        """A line."""
        ...

    def alert(self, alert: DriftAlert, elapsed_s: float) -> None:
        """An alert, ``elapsed_s`` after the start of the command."""
        ...

    def retrain(self, event: RetrainEvent, elapsed_s: float) -> None:
        """A step of a retrain."""
        ...

    def progress(self, done: int, of: int, event_time_ms: int) -> None:
        """How far the year is."""
        ...

    def close(self) -> None:
        """No more progress."""
        ...


def alert_text(alert: DriftAlert) -> tuple[str, str]:
    """An alert's state and severity in words, and its sentence.

    The time is event time: when the demo's world knew.
    """
    decided = datetime.fromtimestamp(alert.decided_ms / 1000, UTC)
    return (
        f"{decided:%d %b %H:%M}  {_PHASE_LABELS[alert.phase]:<5} {alert.severity:<6}",
        alert.explanation,
    )


def retrain_text(event: RetrainEvent) -> tuple[str, str] | None:
    """A step of a retrain in words; ``None`` for one that people need not see."""
    word = _STEP_LABELS.get(event.step)
    if word is None or (event.step == "declined" and event.rule not in _SHOWN_RULES):
        return None
    moment = datetime.fromtimestamp(event.time_ms / 1000, UTC)
    challenger = f"version {event.challenger}: " if event.challenger else ""
    reason = event.reason
    if event.step == "requested":
        reason = "the world changed: a new model, once the labels are there"
    elif event.rule == "data_quality":
        series = str(event.numbers.get("series")).removeprefix("feature/")
        reason = f"{series} broke, the world did not change: mend the source"
    return f"{moment:%d %b %H:%M}  {word:<12}", challenger + reason


class PlainScreen:
    """Lines on a stream: no colour, no movement."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._reported = 0.0

    def print_line(self, text: str) -> None:
        """As `Screen` says."""
        self._stream.write(printable(text) + "\n")
        self._stream.flush()

    def alert(self, alert: DriftAlert, elapsed_s: float) -> None:
        """As `Screen` says."""
        self.print_line(f"{elapsed_s:6.1f} s  " + "  ".join(alert_text(alert)))

    def retrain(self, event: RetrainEvent, elapsed_s: float) -> None:
        """As `Screen` says."""
        if text := retrain_text(event):
            self.print_line(f"{elapsed_s:6.1f} s  " + "  ".join(text))

    def progress(self, done: int, of: int, event_time_ms: int) -> None:
        """As `Screen` says."""
        if of and done / of >= self._reported + _EVERY:
            self._reported = done / of // _EVERY * _EVERY
            self.print_line(
                f"          {_day(event_time_ms)}: {done:,} of {of:,} events and labels"
            )

    def close(self) -> None:
        """As `Screen` says."""


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
        """As `Screen` says."""
        self._console.print(escape(printable(text)))

    def alert(self, alert: DriftAlert, elapsed_s: float) -> None:
        """As `Screen` says."""
        del elapsed_s  # a person sees it happen
        head, sentence = alert_text(alert)
        style = "green" if alert.phase == "recovered" else _COLOUR[alert.severity]
        self._two_columns(head, sentence, style)

    def retrain(self, event: RetrainEvent, elapsed_s: float) -> None:
        """As `Screen` says."""
        del elapsed_s
        if text := retrain_text(event):
            self._two_columns(*text, "bold cyan" if event.step == "promoted" else "cyan")

    def _two_columns(self, head: str, sentence: str, style: str) -> None:
        """What it is, and beside it, wrapped, what there is to say."""
        row = Table.grid(padding=(0, 2, 0, 0))
        row.add_column(no_wrap=True, min_width=_HEAD_WIDTH)
        row.add_column()
        row.add_row(f"[{style}]{escape(printable(head))}[/]", escape(printable(sentence)))
        self._console.print(row)

    def progress(self, done: int, of: int, event_time_ms: int) -> None:
        """As `Screen` says."""
        if self._task is None:
            self._bar.start()
            self._task = self._bar.add_task("", total=of)
        self._bar.update(self._task, completed=done, description=_day(event_time_ms))

    def close(self) -> None:
        """As `Screen` says."""
        self._bar.stop()


def _other_ends(retrains: Mapping[str, int]) -> str:
    """What else became of the retrains that were asked for.

    >>> _other_ends({"failed": 0, "cancelled": 2, "unfinished": 1})
    ', 2 cancelled, 1 not finished'
    """
    named = {"failed": "failed", "cancelled": "cancelled", "unfinished": "not finished"}
    return "".join(f", {retrains[key]} {name}" for key, name in named.items() if retrains[key])


def _day(event_time_ms: int) -> str:
    return f"{datetime.fromtimestamp(event_time_ms / 1000, UTC):%d %b %Y}"


def summary_lines(summary: Mapping[str, Any]) -> list[str]:
    """The summary for people.  Every number was read back from Kafka or Redis."""
    events, labels, episodes = summary["events"], summary["labels"], summary["episodes"]
    retrains, errors, seconds = summary["retrains"], summary["error_rate"], summary["seconds"]
    found = "found and named" if summary["unit_break_found"] else "NOT found"
    first = "none" if seconds["first_alert"] is None else f"after {seconds['first_alert']} s"
    return [
        "",
        (
            f"  events     {events['produced']:,} in the log, {events['processed']:,} processed, "
            f"{events['dead_lettered']:,} refused, {events['lost']:,} lost"
        ),
        f"  labels     {labels['produced']:,} in the log, {labels['joined']:,} joined",
        (
            f"  episodes   {episodes['started']} started, {episodes['recovered']} over again, "
            f"{episodes['superseded']} superseded ({summary['alerts']} alerts)"
        ),
        f"  incident   ten days of degrees Celsius: {found}",
        (
            f"  retrains   {retrains['requested']} asked for: {retrains['promoted']} promoted, "
            f"{retrains['rejected']} rejected{_other_ends(retrains)}; "
            f"{retrains['refused_data_quality']} refused, for the data was broken"
        ),
        (
            f"  model      wrong in {errors['driftline']:.1%} of its predictions; "
            f"never retrained it would be {errors['frozen']:.1%}"
        ),
        f"  time       first alert {first}, all in {seconds['total']} s",
    ]
