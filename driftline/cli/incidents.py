"""``driftline incidents``: what happened, episodes that belong together as one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import msgspec
import typer

from driftline.cli.alert_actions import (
    ReasonOption,
    UserOption,
    duration_ms,
    read_alerts,
    reject_long_snooze,
    write_command,
)
from driftline.cli.command_error import EXIT_USAGE, CommandError
from driftline.cli.connection import load_settings
from driftline.cli.options import Bootstrap, Config, IncludeDrills, Json, Prefix
from driftline.cli.output import note, write_json, write_line, write_lines

if TYPE_CHECKING:
    from stream_monitor.episodes.incidents import Incident
    from stream_monitor.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Incidents: episodes that belong together.")

Id: TypeAlias = Annotated[
    str, typer.Argument(help="Id of an incident, or how it begins: driftline incidents list.")
]
ModelFilter: TypeAlias = Annotated[str | None, typer.Option(help="Only this model's.")]
_SHORT: Final = 12


@app.command("list")
def list_incidents(
    config: Config = None,
    bootstrap_servers: Bootstrap = None,
    prefix: Prefix = None,
    model: ModelFilter = None,
    *,
    closed: Annotated[bool, typer.Option("--all", help="Those that are over, too.")] = False,
    drills: IncludeDrills = False,
    as_json: Json = False,
) -> None:
    """Incidents that are open, the oldest first."""
    settings = load_settings(config, bootstrap_servers=bootstrap_servers, prefix=prefix)
    found = [
        incident
        for incident in read_incidents(settings, drills=drills)
        if model in (None, incident.model) and (closed or incident.closed_ms is None)
    ]
    for incident in found:
        if as_json:
            write_json(incident, indent=0)
        else:
            write_line(line_of(incident))
    if not found and not as_json:
        note("no incident is open")


@app.command()
def show(
    incident: Id,
    config: Config = None,
    bootstrap_servers: Bootstrap = None,
    prefix: Prefix = None,
    *,
    as_json: Json = False,
) -> None:
    """One incident: what it may come from, and its episodes."""
    settings = load_settings(config, bootstrap_servers=bootstrap_servers, prefix=prefix)
    found = incident_by_id(read_incidents(settings), incident)
    if as_json:
        write_json(msgspec.to_builtins(found))
        return
    lines = [line_of(found), "", "  may come from"]
    lines += [f"    {cause.score:4.2f}  {cause.name:<17} {cause.why}" for cause in found.causes]
    lines += ["", "  episodes"]
    for member in found.members:
        state = "open" if member.ended_ms is None else "over"
        known = f"  (known to {member.acknowledged_by})" if member.acknowledged_by else ""
        lines.append(
            f"    {member.episode_id[:_SHORT]}  {state}  {member.severity:<6} "
            f"{member.explanation}{known}"
        )
    write_lines(lines)


@app.command()
def acknowledge(
    incident: Id,
    by: UserOption = None,
    reason: ReasonOption = "",
    config: Config = None,
    bootstrap_servers: Bootstrap = None,
    prefix: Prefix = None,
) -> None:
    """Say that you know, of all its open episodes."""
    settings = load_settings(config, bootstrap_servers=bootstrap_servers, prefix=prefix)
    for episode in open_episode_ids(settings, incident):
        write_command(settings, "acknowledge", episode, by, reason)


@app.command()
def snooze(
    incident: Id,
    for_: Annotated[str, typer.Option("--for", help="How long: 30m, 2h, 3d.")],
    by: UserOption = None,
    reason: ReasonOption = "",
    config: Config = None,
    bootstrap_servers: Bootstrap = None,
    prefix: Prefix = None,
) -> None:
    """No more alerts of its series for a while."""
    now_ms = round(time.time() * 1000)
    until_ms = now_ms + duration_ms(for_)
    settings = load_settings(config, bootstrap_servers=bootstrap_servers, prefix=prefix)
    reject_long_snooze(settings, until_ms, now_ms)
    for episode in open_episode_ids(settings, incident):
        write_command(settings, "snooze", episode, by, reason, until_ms)


@app.command()
def resolve(
    incident: Id,
    by: UserOption = None,
    reason: ReasonOption = "",
    config: Config = None,
    bootstrap_servers: Bootstrap = None,
    prefix: Prefix = None,
) -> None:
    """End all its open episodes; their series are watched on."""
    settings = load_settings(config, bootstrap_servers=bootstrap_servers, prefix=prefix)
    for episode in open_episode_ids(settings, incident):
        write_command(settings, "resolve", episode, by, reason)


@app.command()
def digest(
    config: Config = None,
    bootstrap_servers: Bootstrap = None,
    prefix: Prefix = None,
    since: Annotated[str, typer.Option("--since", help="How far back: 12h, 7d.")] = "24h",
    *,
    as_json: Json = False,
) -> None:
    """What happened to each model, in a few lines: counted back from its latest alert."""
    from driftline.topics.incident_digest import digests, lines_of  # noqa: PLC0415 - light imports

    settings = load_settings(config, bootstrap_servers=bootstrap_servers, prefix=prefix)
    found = digests(read_incidents(settings), duration_ms(since, option="--since"))
    if as_json:
        for one in found:
            write_json(one, indent=0)
    elif found:
        for i, one in enumerate(found):
            write_lines([*([""] if i else []), *lines_of(one)])
    else:
        note("no model ever had an alert")


def read_incidents(settings: Settings, *, drills: bool = False) -> list[Incident]:
    """All incidents that the alerts topic tells of."""
    from stream_monitor.episodes.incidents import incidents_of  # noqa: PLC0415 - light imports

    policy = settings.incident_policy()
    return incidents_of(read_alerts(settings, drills=drills), policy, deploys=_deploys(settings))


def _deploys(settings: Settings) -> dict[str, dict[str, int]]:
    """When each version was announced, by model; empty where there is no trainer."""
    from driftline.topics.topic_decoder import TopicDecoder  # noqa: PLC0415
    from driftline.topics.topic_reader import TopicReader  # noqa: PLC0415 - light imports
    from producer.routing import topic_names  # noqa: PLC0415
    from trainer.contracts import ModelVersion  # noqa: PLC0415

    found: dict[str, dict[str, int]] = {}
    topic = topic_names(settings.topics.prefix).models
    try:
        reader = TopicReader(settings.kafka.client(), topic)
    except LookupError:
        return found
    values = TopicDecoder(topic, ModelVersion)
    with reader:
        for record in reader.until(lambda: False, idle_timeout_s=1.0):
            if record.value and b"@" in (record.key or b""):  # others are deletions, or pointers
                version = values.of(record)
                if version is not None:
                    found.setdefault(version.model, {})[version.version] = version.time_ms
    note(*values.notes())
    return found


def incident_by_id(incidents: Sequence[Incident], id_prefix: str) -> Incident:
    """The one incident whose id begins so.

    Raises:
        CommandError: there is none, or there are several.
    """
    found = [one for one in incidents if one.incident_id.startswith(id_prefix)]
    if len(found) != 1:
        raise CommandError(
            f"{len(found) or 'no'} incidents begin with {id_prefix!r}",
            fix="driftline incidents list --all",
            code=EXIT_USAGE,
        )
    return found[0]


def open_episode_ids(settings: Settings, id_prefix: str) -> list[str]:
    """The open episodes of an incident.

    Raises:
        CommandError: none is open.
    """
    found = incident_by_id(read_incidents(settings), id_prefix)
    episodes = [member.episode_id for member in found.members if member.ended_ms is None]
    if not episodes:
        raise CommandError(f"incident {found.incident_id[:_SHORT]} is over", code=EXIT_USAGE)
    return episodes


def line_of(incident: Incident) -> str:
    """An incident as a line: its id, when it was told of, how bad, of what, the likeliest cause."""
    from producer.synthetic import is_synthetic  # noqa: PLC0415 - light imports
    from stream_monitor.episodes.formatting import format_time  # noqa: PLC0415

    over = "open" if incident.closed_ms is None else f"over {format_time(incident.closed_ms)}"
    n = len(incident.members)
    drill = "DRILL " if is_synthetic(incident.model) else ""
    cause = incident.causes[0].name if incident.causes else "unknown"
    return (
        f"{incident.incident_id[:_SHORT]}  {format_time(incident.opened_ms)}  {over:<26} "
        f"{incident.severity:<6} {incident.model}  {n} episode{'s' if n > 1 else ''}  "
        f"{drill}{cause}: {incident.explanation}"
    )
