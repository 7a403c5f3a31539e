"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from driftline.cli.command_error import EXIT_USAGE, CommandError

if TYPE_CHECKING:
    from driftline.offline.tables.read_options import ReadOptions

Config: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--config", envvar="DRIFTLINE_CONFIG", help="Settings file \\[default: ./driftline.toml]."
    ),
]
Bootstrap: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--bootstrap-servers",
        help="Kafka's host:port,... \\[default: settings, KAFKA_BOOTSTRAP_SERVERS].",
    ),
]
RedisUrl: TypeAlias = Annotated[
    str | None, typer.Option("--redis-url", help="\\[default: settings, REDIS_URL].")
]
Prefix: TypeAlias = Annotated[
    str | None, typer.Option("--prefix", help="Prefix of the topics \\[default: driftline].")
]
IncludeDrills: TypeAlias = Annotated[
    bool,
    typer.Option("--include-drills", help="Alerts of drills, too: their changes were injected."),
]
TimeColumn: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--time",
        help="Column of event time: ISO 8601, or a number since 1970; without a zone it is UTC.",
    ),
]
TimeFormat: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--time-format",
        help='How --time is written otherwise: "%d.%m.%Y %H:%M"; day and month are never guessed.',
    ),
]
PositiveLabel: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--positive", help="The label a score is the probability of \\[default: 1, or true]."
    ),
]
Ignore: TypeAlias = Annotated[
    list[str] | None, typer.Option("--ignore", help="A column to leave out; repeat, or A,B.")
]
Numeric: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--numeric", help="A column of numbers, whatever it looks like; repeat, or A,B."),
]
Categorical: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--categorical", help="A column whose numbers are codes: categories; repeat, or A,B."
    ),
]
Separator: TypeAlias = Annotated[
    str | None,
    typer.Option("--separator", help="Between the fields of a CSV \\[default: by its rows]."),
]
DecimalMark: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--decimal", help="Decimal mark of a CSV, a point or a comma \\[default: by its numbers]."
    ),
]
Encoding: TypeAlias = Annotated[
    str | None,
    typer.Option("--encoding", help="Of text \\[default: by its bytes, UTF-8 or cp1252]."),
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="JSON on stdout, for programs.")]


def read_options_of(
    *,
    ignore: list[str] | None = None,
    numeric: list[str] | None = None,
    categorical: list[str] | None = None,
    separator: str | None = None,
    decimal: str | None = None,
    encoding: str | None = None,
) -> ReadOptions:
    """What the options say of a file and its columns.  Raises Failure where one is no choice."""
    from driftline.offline.tables.read_options import ReadOptions  # noqa: PLC0415

    if decimal not in (None, ".", ","):
        raise CommandError(f"--decimal {decimal!r} is neither a point nor a comma", code=EXIT_USAGE)
    return ReadOptions(
        ignore=tuple(ignore or ()),
        numeric=tuple(numeric or ()),
        categorical=tuple(categorical or ()),
        separator=separator,
        decimal="," if decimal == "," else "." if decimal == "." else None,
        encoding=encoding,
    )
