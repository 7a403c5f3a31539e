"""``driftline topics``: what there should be, and making it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from driftline.commands.connection import load_settings
from driftline.commands.options import Bootstrap, Config, Json, Prefix
from driftline.commands.output import write_json

app = typer.Typer(no_args_is_help=True, help="The topics driftline needs.")


@app.command()
def plan(
    config: Config = None,
    bootstrap_servers: Bootstrap = None,
    prefix: Prefix = None,
    *,
    as_json: Json = False,
) -> None:
    """Show what `create` would make; changes nothing."""
    from driftline import topic_registry  # noqa: PLC0415 - light imports

    settings = load_settings(config, bootstrap_servers=bootstrap_servers, prefix=prefix)
    wanted = topic_registry.load_registry(settings.topics.prefix)
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
        typer.echo(f"{mark} {row['topic']}  partitions={row['partitions']}  {shown}")


@app.command()
def create(
    config: Config = None,
    bootstrap_servers: Bootstrap = None,
    prefix: Prefix = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="As `plan`.")] = False,
) -> None:
    """Make the topics that are missing.  What exists stays as it is."""
    from driftline import topic_registry  # noqa: PLC0415 - light imports

    if dry_run:
        plan(config, bootstrap_servers, prefix)
        return
    settings = load_settings(config, bootstrap_servers=bootstrap_servers, prefix=prefix)
    wanted = topic_registry.load_registry(settings.topics.prefix)
    made = topic_registry.create_topics(settings.kafka.client(), wanted)
    for name in made:
        typer.echo(f"+ {name}")
    if not made:
        typer.echo("all there already")
