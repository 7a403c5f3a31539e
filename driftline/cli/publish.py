"""``driftline publish``: a file into the log."""

from __future__ import annotations

import contextlib
import sys
import time as clock
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from driftline.cli.command_error import EXIT_FAILED, EXIT_UNREACHABLE, EXIT_USAGE, CommandError
from driftline.cli.connection import load_settings
from driftline.cli.input_files import (
    file_errors_explained,
    note_read_warnings,
    note_unwatched_columns,
)
from driftline.cli.options import (
    Bootstrap,
    Categorical,
    Config,
    DecimalMark,
    Encoding,
    Ignore,
    Numeric,
    Prefix,
    Separator,
    TimeColumn,
    TimeFormat,
    read_options_of,
)
from driftline.cli.output import note
from producer.printable import printable

if TYPE_CHECKING:
    from driftline.offline.injection import Injection
    from driftline.offline.tables.row_events import PublishResult, Writer
    from producer.events import Event


class DiscardingWriter:
    """Takes events and keeps none: for a dry run."""

    def write(self, event: Event) -> None:
        """Take one event."""


def publish(
    file: Annotated[Path, typer.Argument(help="CSV, JSON, Parquet: a row is a prediction.")],
    model: Annotated[str, typer.Option(help="Name of the model.")],
    version: Annotated[str, typer.Option(help="Version of the model.")],
    prediction: Annotated[
        str | None, typer.Option(help="Column of the predictions \\[default: events have none].")
    ] = None,
    label: Annotated[str | None, typer.Option(help="Column of the truth.")] = None,
    time: TimeColumn = None,
    time_format: TimeFormat = None,
    id_: Annotated[
        str | None, typer.Option("--id", help="Column of ids \\[default: the row's number].")
    ] = None,
    speed: Annotated[
        float | None, typer.Option(min=0.001, help="Rows a second \\[default: as fast as it goes].")
    ] = None,
    inject: Annotated[
        list[str] | None,
        typer.Option(help="Drift to put in, like mean:temp:+0.5sd@50000 or celsius:temp@100-200."),
    ] = None,
    ignore: Ignore = None,
    numeric: Numeric = None,
    categorical: Categorical = None,
    separator: Separator = None,
    decimal: DecimalMark = None,
    encoding: Encoding = None,
    shards: Annotated[int, typer.Option(min=1, help="Of a hot model, as its servers have.")] = 1,
    config: Config = None,
    bootstrap_servers: Bootstrap = None,
    prefix: Prefix = None,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read and check every row, write none.")
    ] = False,
) -> None:
    """Write a file of predictions into the log, at a chosen speed, with drift put in if wanted.

    All other columns that can be watched are features, what is left out is named; without --time
    events are a second apart from 1970.  Rows that the monitor would reject are counted and left
    out; where that are all of them, the exit code is 1.  Publishing a file again changes nothing
    where the ids are the same: the monitor counts repeats and leaves them out.
    """
    read_options = read_options_of(
        ignore=ignore,
        numeric=numeric,
        categorical=categorical,
        separator=separator,
        decimal=decimal,
        encoding=encoding,
    )
    if time_format is not None and time is None:
        raise CommandError("--time-format: of which column?", fix="--time COLUMN", code=EXIT_USAGE)
    injections = _injections(inject or [])
    settings = load_settings(config, bootstrap_servers=bootstrap_servers, prefix=prefix)
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
        note_unwatched_columns(layout.ignored)
        rows = row_events_of(
            table,
            layout,
            model=model,
            version=version,
            columns=columns,
            injections=injections,
            now_ms=int(clock.time() * 1_000),
            limits=settings.monitor_spec().limits,
        )
        with progress(file, table.n_rows) as advance:
            done = publish_rows(rows, writer, events_per_s=speed, on_progress=advance)
    _flush(finish, settings.kafka.bootstrap_servers)
    _report(done, file, "checked" if dry_run else "written and acknowledged")


def _report(done: PublishResult, file: Path, what: str) -> None:
    """Say what became of the rows.  Raises Failure where the monitor would reject all of them."""
    n_rejected = done.rejected.total()
    note(f"{done.rows - n_rejected:,} rows {what}")
    if not n_rejected:
        return
    reasons = ", ".join(f"{reason} {n:,}" for reason, n in done.rejected.most_common())
    text = f"{n_rejected:,} of {done.rows:,} rows rejected, as the monitor would ({reasons})"
    if n_rejected == done.rows:
        raise CommandError(text, where=str(file), why=f"the first: {done.first}", code=EXIT_FAILED)
    note(f"{text}; the first: {done.first}")


def _injections(texts: list[str]) -> list[Injection]:
    from driftline.offline.injection import parse  # noqa: PLC0415 - light imports

    try:
        return [parse(text) for text in texts]
    except ValueError as error:
        raise CommandError("--inject is not understood", why=str(error), code=EXIT_USAGE) from error


def _flush(finish: Callable[[], Any], where: str) -> None:
    from producer.writer import DeliveryError  # noqa: PLC0415 - light imports

    try:
        finish()
    except DeliveryError as error:
        raise CommandError(
            "not all of it arrived",
            where=where,
            why=str(error),
            fix="publish it again: rows that arrived are recognised by their ids",
            code=EXIT_UNREACHABLE,
        ) from error


@contextlib.contextmanager
def progress(file: Path, n_rows: int) -> Iterator[Callable[[int], None]]:
    """A bar on stderr where a person looks on; gives what is called with the rows so far."""
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
