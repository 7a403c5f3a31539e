"""``driftline publish``: write the rows of a file to the event topic."""

from __future__ import annotations

import contextlib
import hashlib
import sys
import time as clock
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from driftline.cli.command_error import EXIT_UNREACHABLE, CommandError, UsageError
from driftline.cli.input_files import (
    file_errors_explained,
    note_columns_not_watched,
    note_read_warnings,
)
from driftline.cli.option_groups import file_options, kafka_settings, option_groups
from driftline.cli.options import Label, Shards, TimeColumn, TimeFormat
from driftline.cli.output import note
from producer.printable import printable

if TYPE_CHECKING:
    from driftline.offline.injection import Injection
    from driftline.offline.tables.read_options import ReadOptions
    from driftline.offline.tables.row_events import PublishResult, Writer
    from producer.events import Event
    from stream_monitor.settings import Settings


class DiscardingWriter:
    """Discards events, for a dry run."""

    def write(self, event: Event) -> None:
        """Discard an event."""


@option_groups(settings=kafka_settings, read_options=file_options)
def publish(
    file: Annotated[Path, typer.Argument(help="CSV, JSON or Parquet file; each row is one event.")],
    model: Annotated[str, typer.Option(help="Name of the model.")],
    version: Annotated[str, typer.Option(help="Version of the model.")],
    *,
    prediction: Annotated[
        str | None,
        typer.Option(help="Column of the predictions \\[default: events without a prediction]."),
    ] = None,
    label: Label = None,
    time: TimeColumn = None,
    time_format: TimeFormat = None,
    id_: Annotated[
        str | None,
        typer.Option(
            "--id",
            help="Column of the event ids \\[default: the row number, with a digest of the file].",
        ),
    ] = None,
    speed: Annotated[
        float | None, typer.Option(min=0.001, help="Rows a second \\[default: as fast as it goes].")
    ] = None,
    inject: Annotated[
        list[str] | None,
        typer.Option(
            help="Drift to inject, for example mean:temp:+0.5sd@50000 or celsius:temp@100-200; "
            "repeat."
        ),
    ] = None,
    read_options: ReadOptions,
    shards: Shards = 1,
    settings: Settings,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read and check every row, write nothing.")
    ] = False,
) -> None:
    """Write the rows of a file to the event topic, optionally with injected drift.

    Every other column that can be watched is a feature; the columns left out are listed.  Without
    --time the events are one second apart, and the last one is now.  Rows that the monitor would
    reject are counted and not written; if all rows are rejected, the exit code is 1.  Publishing
    the same again changes nothing: the monitor ignores ids that it has already counted.
    """
    if time_format is not None and time is None:
        raise UsageError("--time-format needs --time", fix="name the column with --time")
    injections = _injections(inject or [])
    writer: Writer = DiscardingWriter()
    finish: Callable[[], Any] = lambda: None  # noqa: E731 - nothing to wait for
    if not dry_run:
        from producer.writer import EventWriter  # noqa: PLC0415

        log = EventWriter(
            settings.kafka.bootstrap_servers,
            topic_prefix=settings.topics.prefix,
            source="/driftline/publish",
            shards=shards,
            librdkafka=settings.kafka.librdkafka,
        )
        writer, finish = log, log.flush
    with file_errors_explained():
        from driftline.offline.tables.row_events import (  # noqa: PLC0415 - light imports
            PublishColumns,
            layout_to_publish,
            publish_rows,
            row_events_of,
        )
        from driftline.offline.tables.table_reader import open_table  # noqa: PLC0415

        table = open_table(file, read_options, prediction=prediction)
        note_read_warnings(table.source, table.notes)
        columns = PublishColumns(
            prediction=prediction, label=label, time=time, time_format=time_format, id=id_
        )
        layout = layout_to_publish(table, columns)
        note_columns_not_watched(layout.ignored)
        rows = row_events_of(
            table,
            layout,
            model=model,
            version=version,
            columns=columns,
            injections=injections,
            source="" if id_ is not None else _source_of(file, version, inject or []),
            now_ms=int(clock.time() * 1_000),
            limits=settings.monitor_spec().limits,
        )
        with progress(file, table.n_rows) as advance:
            done = publish_rows(rows, writer, events_per_s=speed, on_progress=advance)
    _flush(finish, settings.kafka.bootstrap_servers)
    _report(done, file, "checked" if dry_run else "written and acknowledged")


def _source_of(file: Path, version: str, inject: list[str]) -> str:
    """A name of what is published: the content of the file, the version and the injections."""
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256")
    digest.update(repr((version, inject)).encode())
    return digest.hexdigest()[:12]


def _report(done: PublishResult, file: Path, what: str) -> None:
    """Print how many rows were written and rejected.

    Raises:
        CommandError: the monitor would reject every row.
    """
    n_rejected = done.rejected.total()
    if done.repeats:
        note(
            f"{done.repeats:,} rows have the id of an earlier row: the monitor counts each id "
            "once; choose a column for --id that differs in every row"
        )
    note(f"{done.rows - n_rejected:,} rows {what}")
    if not n_rejected:
        return
    reasons = ", ".join(f"{reason} {n:,}" for reason, n in done.rejected.most_common())
    text = f"{n_rejected:,} of {done.rows:,} rows rejected, as the monitor would ({reasons})"
    if n_rejected == done.rows:
        raise CommandError(text, where=str(file), why=f"the first: {done.first}")
    note(f"{text}; the first: {done.first}")


def _injections(texts: list[str]) -> list[Injection]:
    from driftline.offline.injection import parse  # noqa: PLC0415 - light imports

    try:
        return [parse(text) for text in texts]
    except ValueError as error:
        raise UsageError("--inject is not valid", why=str(error)) from error


def _flush(finish: Callable[[], Any], where: str) -> None:
    from producer.writer import DeliveryError  # noqa: PLC0415 - light imports

    try:
        finish()
    except DeliveryError as error:
        raise CommandError(
            "Kafka did not acknowledge every row",
            where=where,
            why=str(error),
            fix="publish the file again: the monitor recognises the rows that arrived by their ids",
            code=EXIT_UNREACHABLE,
        ) from error


@contextlib.contextmanager
def progress(file: Path, n_rows: int) -> Iterator[Callable[[int], None]]:
    """Show a progress bar if stderr is a terminal; yields a function that takes the rows so far."""
    if not sys.stderr.isatty():
        yield lambda _rows: None
        return
    from rich.console import Console  # noqa: PLC0415 - light imports
    from rich.markup import escape  # noqa: PLC0415
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn  # noqa: PLC0415

    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(escape(printable(file.name)), total=n_rows)
        yield lambda rows: bar.update(task, completed=rows)
