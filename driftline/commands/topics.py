"""``driftline topics``: what there should be, and making it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import typer

from driftline.commands.connection import load_settings
from driftline.commands.failure import USAGE, Failure
from driftline.commands.options import Bootstrap, Config, Json, Prefix
from driftline.commands.output import write_json, write_line

if TYPE_CHECKING:
    from driftline.commands.findings import WantedTopic

app = typer.Typer(no_args_is_help=True, help="The topics driftline needs.")

MAX_PARTITIONS: Final = 10_000
Partitions: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--partitions", min=1, max=MAX_PARTITIONS,
        help="Of the event topic, when it is made \\[default: 4, as the registry says].",
    ),
]  # fmt: skip
Registry: TypeAlias = Annotated[
    Path | None,
    typer.Option("--file", help="A registry of your own \\[default: infra/topics.toml]."),
]


def registry_of(prefix: str, file: Path | None, partitions: int | None) -> list[WantedTopic]:
    """The topics there should be.  Raises Failure where the file is no registry."""
    from driftline import topic_registry  # noqa: PLC0415 - light imports

    try:
        text = None if file is None else file.read_text("utf-8")
        return topic_registry.load_registry(prefix, text, log_partitions=partitions)
    except (ValueError, OSError) as error:
        raise Failure(
            "that is no registry of topics", where=str(file), why=str(error),
            fix="copy infra/topics.toml and change it", code=USAGE,
        ) from error  # fmt: skip


@app.command()
def plan(
    config: Config = None,
    bootstrap_servers: Bootstrap = None,
    prefix: Prefix = None,
    partitions: Partitions = None,
    file: Registry = None,
    *,
    as_json: Json = False,
) -> None:
    """Show what `create` would make; changes nothing."""
    from driftline import topic_registry  # noqa: PLC0415 - light imports

    settings = load_settings(config, bootstrap_servers=bootstrap_servers, prefix=prefix)
    wanted = registry_of(settings.topics.prefix, file, partitions)
    existing = topic_registry.existing_topics(settings.kafka.client())
    rows: list[dict[str, Any]] = [
        {
            "topic": topic.name,
            "partitions": existing.get(topic.name, topic.partitions),
            "exists": topic.name in existing,
            "config": topic.config,
        }
        for topic in wanted
    ]
    if as_json:
        write_json(rows)
        return
    for row in rows:
        mark = "=" if row["exists"] else "+"
        shown = " ".join(f"{name}={value}" for name, value in row["config"].items())
        write_line(f"{mark} {row['topic']}  partitions={row['partitions']}  {shown}")


@app.command()
def create(
    config: Config = None,
    bootstrap_servers: Bootstrap = None,
    prefix: Prefix = None,
    partitions: Partitions = None,
    replication_factor: Annotated[
        int | None,
        typer.Option(min=1, help="Copies of each partition \\[default: the cluster's own]."),
    ] = None,
    file: Registry = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="As `plan`.")] = False,
) -> None:
    """Make the topics that are missing.  What exists stays as it is.

    Topics with three replicas or more get min.insync.replicas=2.
    """
    from driftline import topic_registry  # noqa: PLC0415 - light imports

    if dry_run:
        plan(config, bootstrap_servers, prefix, partitions, file)
        return
    settings = load_settings(config, bootstrap_servers=bootstrap_servers, prefix=prefix)
    wanted = registry_of(settings.topics.prefix, file, partitions)
    factor = topic_registry.CLUSTER_DEFAULT if replication_factor is None else replication_factor
    made = topic_registry.create_topics(settings.kafka.client(), wanted, factor)
    for name in made:
        write_line(f"+ {name}")
    if not made:
        write_line("all there already")
