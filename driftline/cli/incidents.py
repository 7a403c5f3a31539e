"""``driftline incidents``: show and handle incidents, which group episodes that belong together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import msgspec
import typer

from driftline.cli.alert_actions import ActionTarget, add_actions
from driftline.cli.command_error import UsageError
from driftline.cli.option_groups import kafka_settings, option_groups
from driftline.cli.options import IncludeDrills, Json, ModelFilter, duration_ms
from driftline.cli.output import note, write_json, write_line, write_lines

if TYPE_CHECKING:
    from stream_monitor.contracts import DriftAlert
    from stream_monitor.episodes.incidents import Incident
    from stream_monitor.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Incidents: groups of episodes that belong together.")

_ID_HELP: Final = "Id of an incident, or its first characters: driftline incidents list."
Id: TypeAlias = Annotated[str, typer.Argument(help=_ID_HELP)]
_SHORT: Final = 12


@app.command("list")
@option_groups(settings=kafka_settings)
def list_incidents(
    settings: Settings,
    model: ModelFilter = None,
    *,
    closed: Annotated[bool, typer.Option("--all", help="Also resolved incidents.")] = False,
    drills: IncludeDrills = False,
    as_json: Json = False,
) -> None:
    """List open incidents, the oldest first."""
    found = [
        incident
        for incident in read_incidents(settings, drills=drills)[0]
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
@option_groups(settings=kafka_settings)
def show(incident: Id, settings: Settings, *, as_json: Json = False) -> None:
    """Show one incident: its likely causes, and its episodes."""
    found = incident_by_id(read_incidents(settings)[0], incident)
    if as_json:
        write_json(msgspec.to_builtins(found))
        return
    lines = [line_of(found), "", "  likely causes"]
    lines += [f"    {cause.score:4.2f}  {cause.name:<17} {cause.why}" for cause in found.causes]
    lines += ["", "  episodes"]
    for member in found.members:
        state = "open    " if member.ended_ms is None else "resolved"
        known = f"  (acknowledged by {member.acknowledged_by})" if member.acknowledged_by else ""
        lines.append(
            f"    {member.episode_id[:_SHORT]}  {state}  {member.severity:<6} "
            f"{member.explanation}{known}"
        )
    write_lines(lines)


@app.command()
@option_groups(settings=kafka_settings)
def digest(
    settings: Settings,
    since: Annotated[
        str, typer.Option("--since", help="How far back from the model's latest alert: 12h, 7d.")
    ] = "24h",
    *,
    as_json: Json = False,
) -> None:
    """Summarise the incidents of each model in a few lines."""
    from driftline.topics.incident_digest import digests, lines_of  # noqa: PLC0415 - light imports

    found = digests(read_incidents(settings)[0], duration_ms(since, option="--since"))
    if as_json:
        for one in found:
            write_json(one, indent=0)
    elif found:
        for i, one in enumerate(found):
            write_lines([*([""] if i else []), *lines_of(one)])
    else:
        note("no model has had an alert")


def read_incidents(
    settings: Settings, *, drills: bool = False
) -> tuple[list[Incident], list[DriftAlert]]:
    """All incidents, and the alerts of the alerts topic that they are made from.

    Raises:
        MissingTopicError: the alerts topic does not exist.
    """
    from driftline.topics.alert_history import read_alerts  # noqa: PLC0415 - light imports
    from stream_monitor.episodes.incidents import incidents_of  # noqa: PLC0415

    alerts, notes = read_alerts(settings.kafka.client(), settings.topics.alerts, drills=drills)
    note(*notes)
    incidents = incidents_of(alerts, settings.incident_policy(), deploys=_deploys(settings))
    return incidents, alerts


def _deploys(settings: Settings) -> dict[str, dict[str, int]]:
    """The time (ms) of each version's announcement, by model; empty without a trainer."""
    from driftline.topics.topic_reader import MissingTopicError, TopicDecoder, TopicReader  # noqa: PLC0415 - light imports
    from producer.routing import topic_names  # noqa: PLC0415
    from trainer.contracts import ModelVersion  # noqa: PLC0415

    found: dict[str, dict[str, int]] = {}
    topic = topic_names(settings.topics.prefix).models
    try:
        reader = TopicReader(settings.kafka.client(), topic)
    except MissingTopicError:
        return found
    values = TopicDecoder(topic, ModelVersion)
    with reader:
        for record in reader.read_until(lambda: False, idle_timeout_s=1.0):
            if record.value and b"@" in (record.key or b""):  # others are deletions, or pointers
                version = values.of(record)
                if version is not None and version.promoted:
                    found.setdefault(version.model, {})[version.version] = version.time_ms
    note(*values.notes())
    return found


def incident_by_id(incidents: Sequence[Incident], id_prefix: str) -> Incident:
    """The one incident whose id begins with ``id_prefix``.

    Raises:
        CommandError: no incident, or more than one, has such an id.
    """
    found = [one for one in incidents if one.incident_id.startswith(id_prefix)]
    if len(found) != 1:
        many = f"{len(found)} incidents have" if found else "no incident has"
        raise UsageError(
            f"{many} an id that begins with {id_prefix!r}", fix="driftline incidents list --all"
        )
    return found[0]


def open_episodes_of_incident(settings: Settings, id_prefix: str) -> list[DriftAlert]:
    """The latest alert of each open episode of an incident.

    Raises:
        CommandError: the id fits no incident or several, or no episode of it is open.
    """
    from driftline.topics.alert_history import open_alerts  # noqa: PLC0415 - light imports

    incidents, alerts = read_incidents(settings)
    incident = incident_by_id(incidents, id_prefix)
    members = {member.episode_id for member in incident.members}
    found = [alert for alert in open_alerts(alerts) if alert.episode_id in members]
    if not found:
        raise UsageError(
            f"incident {incident.incident_id[:_SHORT]} has no open episode",
            fix="driftline incidents list shows open incidents",
        )
    return found


def line_of(incident: Incident) -> str:
    """An incident as one line: id, times, severity, model, number of episodes, likeliest cause."""
    from producer.synthetic import is_synthetic  # noqa: PLC0415 - light imports
    from stream_monitor.episodes.formatting import format_time  # noqa: PLC0415

    closed = incident.closed_ms
    state = "open" if closed is None else f"resolved {format_time(closed)}"
    n = len(incident.members)
    drill = "DRILL " if is_synthetic(incident.model) else ""
    cause = incident.causes[0].name if incident.causes else "unknown"
    return (
        f"{incident.incident_id[:_SHORT]}  {format_time(incident.opened_ms)}  {state:<26} "
        f"{incident.severity:<6} {incident.model}  {n} episode{'s' if n > 1 else ''}  "
        f"{drill}{cause}: {incident.explanation}"
    )


add_actions(
    app,
    ActionTarget(
        metavar="INCIDENT",
        argument_help=_ID_HELP,
        episodes="all open episodes of an incident",
        find=open_episodes_of_incident,
    ),
)
