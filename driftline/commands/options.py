"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

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
Drills: TypeAlias = Annotated[
    bool, typer.Option("--drills", help="What drills led to, too: nothing of it happened.")
]
Time: TypeAlias = Annotated[
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
Positive: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--positive", help="The label a score is the probability of \\[default: 1, or true]."
    ),
]
Categorical: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--categorical", help="A column whose numbers are codes: categories; repeat, or A,B."
    ),
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="JSON on stdout, for programs.")]
