"""Options that several commands share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer

from driftline.cli.command_error import UsageError

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
        help="Kafka brokers as host:port,... \\[default: KAFKA_BOOTSTRAP_SERVERS, or settings "
        "file].",
    ),
]
RedisUrl: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--redis-url", help="URL of Redis or Valkey \\[default: REDIS_URL, or settings file]."
    ),
]
Prefix: TypeAlias = Annotated[
    str | None, typer.Option("--prefix", help="Prefix of the topics \\[default: driftline].")
]
IncludeDrills: TypeAlias = Annotated[
    bool,
    typer.Option("--include-drills", help="Also alerts of drills, whose changes were injected."),
]
ModelFilter: TypeAlias = Annotated[str | None, typer.Option("--model", help="Only this model.")]
TimeColumn: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--time",
        help="Column of the event time: ISO 8601, or a number since 1970.  Times without a zone "
        "are UTC.",
    ),
]
TimeFormat: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--time-format",
        help='Format of any other --time column, such as "%d.%m.%Y %H:%M".  The order of day and '
        "month is never guessed.",
    ),
]
PositiveLabel: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--positive", help="The label whose probability is predicted \\[default: 1, or true]."
    ),
]
Ignore: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--ignore", help="Columns to leave out: A,B, or repeat the option."),
]
Numeric: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--numeric", help="Columns to read as numbers: A,B, or repeat the option."),
]
Categorical: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--categorical",
        help="Columns to read as categories, such as numeric codes: A,B, or repeat the option.",
    ),
]
Separator: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--separator", help="Field separator of a CSV file \\[default: inferred from its rows]."
    ),
]
DecimalMark: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--decimal",
        help="Decimal mark of a CSV file, a point or a comma \\[default: inferred from its "
        "numbers].",
    ),
]
Encoding: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--encoding", help="Text encoding of the file \\[default: UTF-8 or cp1252, inferred]."
    ),
]
Label: TypeAlias = Annotated[str | None, typer.Option("--label", help="Column of the labels.")]
TrainingPrediction: TypeAlias = Annotated[
    str | None,
    typer.Option("--prediction", help="Column of the predictions, preferably out of fold."),
]
_SHARDS: Final = typer.Option(
    "--shards", min=1, help="Shards of a hot model; the same number as in its servers."
)
Shards: TypeAlias = Annotated[int, _SHARDS]
ShardsSetting: TypeAlias = Annotated[int | None, _SHARDS]
WebPort: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--web-port", min=0, max=65_535, help="Port for health and metrics; 0 takes a free port."
    ),
]
Json: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print JSON to stdout, for programs.")
]

Html: TypeAlias = Annotated[
    Path | None, typer.Option("--html", help="Also write a report, one self-contained HTML file.")
]

_UNIT_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def duration_ms(text: str, *, option: str = "--for") -> int:
    """A duration such as ``2h`` in milliseconds; ``option`` is named in the error.

    Raises:
        CommandError: the text is not a number and one of the units s, m, h and d.

    >>> duration_ms("2h"), duration_ms("90s")
    (7200000, 90000)
    """
    found = re.fullmatch(r"(\d+)([smhd])", text)
    if found is None:
        raise UsageError(
            f"{option} {text!r} is not a duration",
            fix="write a number and a unit: 90s, 30m, 2h or 3d",
        )
    return int(found[1]) * _UNIT_MS[found[2]]
