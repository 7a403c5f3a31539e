"""``driftline publish``: a file into the log."""

from __future__ import annotations

import contextlib
import sys
import time as clock
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from driftline.commands.connection import load_settings
from driftline.commands.failure import RUNTIME, UNREACHABLE, USAGE, Failure
from driftline.commands.options import (
    Bootstrap,
    Categorical,
    Config,
    DecimalMark,
    Encoding,
    Ignore,
    Numeric,
    Prefix,
    Separator,
    Time,
    TimeFormat,
    choices_of,
)
from driftline.commands.output import note
from driftline.commands.rows import note_left_out, note_reading, refusals
from producer.printable import printable

if TYPE_CHECKING:
    from driftline.tables.events import Published, Writer
    from producer.events import Event
    from producer.injection import Injection


class Nowhere:
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
    time: Time = None,
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
    choices = choices_of(
        ignore=ignore, numeric=numeric, categorical=categorical, separator=separator,
        decimal=decimal, encoding=encoding,
    )  # fmt: skip
    if time_format is not None and time is None:
        raise Failure("--time-format: of which column?", fix="--time COLUMN", code=USAGE)
    injections = _injections(inject or [])
    settings = load_settings(config, bootstrap_servers=bootstrap_servers, prefix=prefix)
    writer: Writer = Nowhere()
    finish: Callable[[], Any] = lambda: None  # noqa: E731 - nothing to wait for
    if not dry_run:
        from producer.writer import LogWriter  # noqa: PLC0415

        log = LogWriter(
            settings.kafka.bootstrap_servers,
            topic_prefix=settings.topics.prefix,
            source="/driftline/publish",
            shards=shards,
            librdkafka=settings.kafka.librdkafka,
        )
        writer, finish = log, log.flush
    with refusals():
        from driftline.tables.events import (  # noqa: PLC0415 - light imports
            Columns,
            layout_to_publish,
            publish_rows,
            rows_of,
        )
        from driftline.tables.reader import open_table  # noqa: PLC0415

        table = open_table(file, choices, prediction=prediction)
        note_reading(table.source, table.notes)
        columns = Columns(
            prediction=prediction, label=label, time=time, time_format=time_format, id=id_
        )
        layout = layout_to_publish(table, columns)
        note_left_out(layout.ignored)
        rows = rows_of(
            table, layout, model=model, version=version, columns=columns, injections=injections,
            now_ms=int(clock.time() * 1_000), limits=settings.monitor_spec().limits,
        )  # fmt: skip
        with progress(file, table.n_rows) as advance:
            done = publish_rows(rows, writer, events_per_s=speed, on_progress=advance)
    _wait(finish, settings.kafka.bootstrap_servers)
    _report(done, file, "checked" if dry_run else "written and acknowledged")


def _report(done: Published, file: Path, what: str) -> None:
    """Say what became of the rows.  Raises Failure where the monitor would reject all of them."""
    n_rejected = done.rejected.total()
    note(f"{done.rows - n_rejected:,} rows {what}")
    if not n_rejected:
        return
    reasons = ", ".join(f"{reason} {n:,}" for reason, n in done.rejected.most_common())
    text = f"{n_rejected:,} of {done.rows:,} rows rejected, as the monitor would ({reasons})"
    if n_rejected == done.rows:
        raise Failure(text, where=str(file), why=f"the first: {done.first}", code=RUNTIME)
    note(f"{text}; the first: {done.first}")


def _injections(texts: list[str]) -> list[Injection]:
    from producer.injection import parse  # noqa: PLC0415 - light imports

    try:
        return [parse(text) for text in texts]
    except ValueError as error:
        raise Failure("--inject is not understood", why=str(error), code=USAGE) from error


def _wait(finish: Callable[[], Any], where: str) -> None:
    from producer.writer import Undelivered  # noqa: PLC0415 - light imports

    try:
        finish()
    except Undelivered as error:
        raise Failure(
            "not all of it arrived",
            where=where,
            why=str(error),
            fix="publish it again: rows that arrived are recognised by their ids",
            code=UNREACHABLE,
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
