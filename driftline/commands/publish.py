"""``driftline publish``: a file into the log."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from driftline.commands.connection import load_settings
from driftline.commands.failure import UNREACHABLE, USAGE, Failure
from driftline.commands.options import Bootstrap, Config, Prefix
from driftline.commands.output import note
from producer.printable import printable

if TYPE_CHECKING:
    from producer.events import Event
    from producer.injection import Injection
    from producer.publish import Writer


class Nowhere:
    """Takes events and keeps none: for a dry run."""

    def write(self, event: Event) -> None:
        """Take one event."""


def publish(
    file: Annotated[Path, typer.Argument(help="CSV or Parquet: a row is a prediction.")],
    model: Annotated[str, typer.Option(help="Name of the model.")],
    version: Annotated[str, typer.Option(help="Version of the model.")],
    prediction: Annotated[str, typer.Option(help="Column of the predictions.")],
    label: Annotated[str | None, typer.Option(help="Column of the truth.")] = None,
    time: Annotated[
        str | None,
        typer.Option(help="Column of event time: ISO 8601 or ms \\[default: a second a row]."),
    ] = None,
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

    All other columns are features.  Publishing a file again changes nothing where the ids are the
    same: the monitor counts repeats and leaves them out.
    """
    from producer.publish import Columns, publish_file  # noqa: PLC0415 - light imports

    if not file.is_file():
        raise Failure("there is no such file", where=str(file), code=USAGE)
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
    columns = Columns(prediction=prediction, label=label, time=time, id=id_)
    try:
        with progress(file) as advance:
            rows = publish_file(
                file,
                writer,
                model=model,
                version=version,
                columns=columns,
                events_per_s=speed,
                injections=injections,
                on_progress=advance,
            )
    except ValueError as error:
        raise Failure("the file does not fit", where=str(file), why=str(error)) from error
    _wait(finish, settings.kafka.bootstrap_servers)
    note(f"{rows:,} rows {'checked' if dry_run else 'written and acknowledged'}")


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
def progress(file: Path) -> Iterator[Callable[[int], None]]:
    """A bar on stderr where a person looks on; gives what is called with the rows so far."""
    if not sys.stderr.isatty():
        yield lambda _rows: None
        return
    from rich.console import Console  # noqa: PLC0415 - light imports
    from rich.markup import escape  # noqa: PLC0415
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn  # noqa: PLC0415

    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(escape(printable(file.name)), total=n_rows(file))
        yield lambda rows: bar.update(task, completed=rows)


def n_rows(file: Path) -> int | None:
    """How many rows a file has, about: lines of text may be in quotes; ``None`` if not known."""
    if file.suffix != ".csv":
        return None
    with file.open("rb") as lines:
        return max(0, sum(1 for _ in lines) - 1)
