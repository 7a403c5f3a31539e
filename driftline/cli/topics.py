"""``driftline topics``: plan, create and grow the topics that driftline needs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import typer

from driftline.cli.command_error import EXIT_UNREACHABLE, CommandError, UsageError
from driftline.cli.connection import connect_redis
from driftline.cli.option_groups import kafka_settings, option_groups, server_settings
from driftline.cli.options import Json
from driftline.cli.output import note, write_json, write_line

if TYPE_CHECKING:
    from driftline.doctor.cluster_checks import TopicSpec
    from driftline.topics.topic_growth import GrowthPlan
    from stream_monitor.settings import Settings

app = typer.Typer(no_args_is_help=True, help="The topics driftline needs.")

MAX_PARTITIONS: Final = 10_000
Partitions: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--partitions",
        min=1,
        max=MAX_PARTITIONS,
        help="Partitions of the event topic, if it is created \\[default: 4, from the registry].",
    ),
]
RegistryFile: TypeAlias = Annotated[
    Path | None, typer.Option("--file", help="Topic registry \\[default: infra/topics.toml].")
]


def registry_of(prefix: str, file: Path | None, partitions: int | None) -> list[TopicSpec]:
    """The topics of the registry.

    Raises:
        CommandError: the file is not a topic registry.
    """
    from driftline.topics import topic_registry  # noqa: PLC0415 - light imports

    try:
        text = None if file is None else file.read_text("utf-8")
        return topic_registry.load_registry(prefix, text, event_partitions=partitions)
    except (ValueError, OSError) as error:
        raise UsageError(
            "the file is not a topic registry",
            where=str(file),
            why=str(error),
            fix="start from a copy of infra/topics.toml",
        ) from error


@app.command()
@option_groups(settings=kafka_settings)
def plan(
    settings: Settings,
    partitions: Partitions = None,
    file: RegistryFile = None,
    *,
    as_json: Json = False,
) -> None:
    """Show the topics that `create` would create (+), and those that exist (=)."""
    _write_plan(settings, partitions, file, as_json=as_json)


def _write_plan(
    settings: Settings, partitions: int | None, file: Path | None, *, as_json: bool = False
) -> None:
    from driftline.topics import topic_registry  # noqa: PLC0415 - light imports

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
@option_groups(settings=kafka_settings)
def create(
    settings: Settings,
    partitions: Partitions = None,
    replication_factor: Annotated[
        int | None,
        typer.Option(min=1, help="Replicas of each partition \\[default: that of the cluster]."),
    ] = None,
    file: RegistryFile = None,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Create nothing; print the plan.")
    ] = False,
) -> None:
    """Create the topics that are missing; existing topics are not changed.

    Topics with three replicas or more get min.insync.replicas=2.
    """
    from driftline.topics import topic_registry  # noqa: PLC0415 - light imports

    if dry_run:
        _write_plan(settings, partitions, file)
        return
    wanted = registry_of(settings.topics.prefix, file, partitions)
    factor = topic_registry.CLUSTER_DEFAULT if replication_factor is None else replication_factor
    made = topic_registry.create_topics(settings.kafka.client(), wanted, factor)
    for name in made:
        write_line(f"+ {name}")
    if not made:
        write_line("every topic exists already")


@app.command()
@option_groups(settings=server_settings)
def grow(
    *,
    partitions: Annotated[
        int | None,
        typer.Option(
            min=1, max=MAX_PARTITIONS, help="New number of partitions \\[default: unchanged]."
        ),
    ] = None,
    shards: Annotated[
        list[str] | None,
        typer.Option(
            help="New number of shards of a model, before its servers get it: churn=8; repeat."
        ),
    ] = None,
    settings: Settings,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Change nothing; print what would move.")
    ] = False,
) -> None:
    """Add partitions to the event topic, or shards to a model, and copy references along.

    The partitions of a model depend on the number of partitions, so some models move.  Without
    options the command writes the references and placement records that are missing.
    """
    from driftline.monitor_state.partition_state import read_monitors  # noqa: PLC0415
    from driftline.topics import topic_growth, topic_registry  # noqa: PLC0415
    from producer.permission import PERMISSIONS_FIX  # noqa: PLC0415

    topic, client = settings.topics.events, settings.kafka.client()
    before = topic_registry.existing_topics(client).get(topic)
    if before is None:
        hidden = topic_registry.hidden_topics(client, [topic])
        if hidden:
            raise CommandError(
                "Kafka denies a permission",
                why=hidden[topic],
                fix=PERMISSIONS_FIX,
                code=EXIT_UNREACHABLE,
            )
        raise CommandError(f"there is no topic {topic}", fix="driftline topics create")
    wanted = before if partitions is None else partitions
    if wanted < before:
        raise UsageError(
            f"{topic} has {before} partitions, and Kafka cannot remove partitions",
            fix=f"give --partitions {before} or more",
        )
    monitors = read_monitors(connect_redis(settings), settings, list(range(before)))
    growth = topic_growth.plan_growth(
        monitors, before, wanted, shards_of(shards or []), round(time.time() * 1000)
    )
    if not dry_run:
        if wanted > before:
            topic_growth.add_partitions(client, topic, wanted)
        topic_growth.write(
            growth,
            settings.kafka.bootstrap_servers,
            settings.topics.prefix,
            settings.kafka.librdkafka,
        )
    for line in growth_lines(topic, growth, dry_run=dry_run):
        write_line(line)
    if dry_run:
        return
    for model, count in shards_of(shards or []).items():
        note(
            f"{model}: now set shards={count} in its servers (InferenceLogger, publish), and "
            f"restart the trainer with --shards {count}"
        )


def shards_of(given: list[str]) -> dict[str, int]:
    """The number of shards by model, from options ``MODEL=NUMBER``.

    Raises:
        CommandError: an option has another form.

    >>> shards_of(["churn=8"])
    {'churn': 8}
    """
    from producer.routing import MAX_SHARDS  # noqa: PLC0415 - light imports

    found: dict[str, int] = {}
    for text in given:
        model, _, count = text.rpartition("=")
        if not model or not count.isdecimal() or not 0 < int(count) <= MAX_SHARDS:
            raise UsageError(
                f"--shards {text} is not valid",
                fix=f"write MODEL=NUMBER, with a number from 1 to {MAX_SHARDS}",
            )
        found[model] = int(count)
    return found


def growth_lines(topic: str, growth: GrowthPlan, *, dry_run: bool) -> list[str]:
    """The lines that describe a growth of the topic, done or planned."""
    after = growth.topology.partitions
    would = "would be " if dry_run else ""
    change = f"{growth.before} partitions" + (f" → {after}" if after != growth.before else "")
    lines = [f"{topic}: {change}, generation {growth.topology.generation}"]
    for model, (then, now) in growth.moved.items():
        lines.append(f"  {model}: partition {_several(then)} → {_several(now)}")
    lines += [
        f"  reference of {update.model}@{update.version} {would}copied to partition {partition}"
        for update, partition in growth.copies
    ]
    if not growth.outdated and not growth.copies:
        lines.append("  nothing to do: all references and placement records are written")
    elif growth.moved:
        lines.append(
            "  labels of predictions made before the move cannot be joined; they are counted as "
            "label_prediction_elsewhere"
        )
    return lines


def _several(partitions: tuple[int, ...]) -> str:
    return ", ".join(map(str, partitions))
