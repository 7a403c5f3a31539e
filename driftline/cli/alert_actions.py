"""``driftline alerts list | acknowledge | snooze | resolve``: what people do about episodes."""

from __future__ import annotations

import getpass
import os
import re
import time
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeAlias

import msgspec
import typer

from driftline.cli.alerts import app, line_of
from driftline.cli.command_error import EXIT_USAGE, CommandError
from driftline.cli.connection import load_settings
from driftline.cli.options import Bootstrap, Config, IncludeDrills, Json, Prefix
from driftline.cli.output import note, write_json, write_line

if TYPE_CHECKING:
    from driftline.monitor_state.open_episodes import OpenEpisodeRow
    from stream_monitor.contracts import DriftAlert
    from stream_monitor.settings import Settings

__all__ = ["app"]

AlertAction: TypeAlias = Literal["acknowledge", "snooze", "resolve"]
EpisodeId: TypeAlias = Annotated[
    str, typer.Argument(help="Id of an episode, or how it begins: driftline alerts list.")
]
UserOption: TypeAlias = Annotated[str | None, typer.Option("--user", help="Who you are.")]
ReasonOption: TypeAlias = Annotated[str, typer.Option("--reason", help="Why, for the others.")]

_UNIT_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_IDLE_TIMEOUT_S: Final = 2.0


@app.command("list")
def list_open(
    config: Config = None,
    bootstrap_servers: Bootstrap = None,
    prefix: Prefix = None,
    model: Annotated[str | None, typer.Option(help="Only this model's.")] = None,
    *,
    drills: IncludeDrills = False,
    as_json: Json = False,
) -> None:
    """Episodes that are open: the last alert of each, and how far it is from its end by now."""
    settings = load_settings(config, bootstrap_servers=bootstrap_servers, prefix=prefix)
    alerts = read_alerts(settings, drills=drills)
    found = [a for a in open_episodes(alerts) if model in (None, a.model)]
    for alert in with_current_state(
        found, _open_episode_rows(settings, {alert.partition for alert in found})
    ):
        if as_json:
            write_json(alert, indent=0)
        else:
            write_line(line_of(alert))
    if not found and not as_json:
        note("no episode is open")


def with_current_state(
    alerts: Iterable[DriftAlert], rows: Iterable[OpenEpisodeRow]
) -> list[DriftAlert]:
    """The alerts with what the monitor's state says since: what drifts, how far from its end."""
    from driftline.monitor_state.open_episodes import describe_episode  # noqa: PLC0415 - light imports

    known = {row.episode_id: row for row in rows}
    return [
        alert
        if (row := known.get(alert.episode_id)) is None
        else msgspec.structs.replace(
            alert,
            explanation=describe_episode(row),
            recovery_events=row.recovery_events,
            recovery_events_needed=row.recovery_events_needed,
        )
        for alert in alerts
    ]


def _open_episode_rows(settings: Settings, partitions: set[int]) -> list[OpenEpisodeRow]:
    """Open episodes as the state has them; none where it cannot be read: the alerts will do."""
    from redis import RedisError  # noqa: PLC0415 - light imports

    from driftline.cli.connection import connect_redis  # noqa: PLC0415
    from driftline.cli.status import read_monitors  # noqa: PLC0415
    from driftline.monitor_state.open_episodes import open_episode_rows  # noqa: PLC0415

    if not partitions:
        return []
    try:
        return open_episode_rows(
            read_monitors(connect_redis(settings), settings, sorted(partitions))
        )
    except (RedisError, ValueError) as error:
        note(f"cannot read the monitor's state ({error}): episodes are as of their last alerts")
        return []


@app.command()
def acknowledge(
    episode: EpisodeId,
    by: UserOption = None,
    reason: ReasonOption = "",
    config: Config = None,
    bootstrap_servers: Bootstrap = None,
    prefix: Prefix = None,
) -> None:
    """Say that you know: later alerts of the episode say so."""
    _write_action("acknowledge", episode, by, reason, (config, bootstrap_servers, prefix))


@app.command()
def snooze(
    episode: EpisodeId,
    for_: Annotated[str, typer.Option("--for", help="How long: 30m, 2h, 3d.")],
    by: UserOption = None,
    reason: ReasonOption = "",
    config: Config = None,
    bootstrap_servers: Bootstrap = None,
    prefix: Prefix = None,
) -> None:
    """No more alerts of its series for a while; suppressed alerts are counted."""
    until_ms = round(time.time() * 1000) + duration_ms(for_)
    _write_action("snooze", episode, by, reason, (config, bootstrap_servers, prefix), until_ms)


@app.command()
def resolve(
    episode: EpisodeId,
    by: UserOption = None,
    reason: ReasonOption = "",
    config: Config = None,
    bootstrap_servers: Bootstrap = None,
    prefix: Prefix = None,
) -> None:
    """End the episode; the series is watched on, against its reference."""
    _write_action("resolve", episode, by, reason, (config, bootstrap_servers, prefix))


def duration_ms(text: str, *, option: str = "--for") -> int:
    """How long ``2h`` is.

    Raises:
        CommandError: it says something else.

    >>> duration_ms("2h"), duration_ms("90s")
    (7200000, 90000)
    """
    found = re.fullmatch(r"(\d+)([smhd])", text)
    if found is None:
        raise CommandError(f"{option}: {text!r} is no duration", fix="30m, 2h, 3d", code=EXIT_USAGE)
    return int(found[1]) * _UNIT_MS[found[2]]


def open_episodes(alerts: Iterable[DriftAlert]) -> list[DriftAlert]:
    """The last alert of each episode that has not ended, in the order they began."""
    from stream_monitor.contracts import ENDED_PHASES  # noqa: PLC0415 - light imports

    latest: dict[str, DriftAlert] = {}
    ended: set[str] = set()
    for alert in alerts:
        latest[alert.episode_id] = alert
        if alert.phase in ENDED_PHASES:
            ended.add(alert.episode_id)
    return [alert for episode_id, alert in latest.items() if episode_id not in ended]


def read_alerts(settings: Settings, *, drills: bool = False) -> list[DriftAlert]:
    """All that the alerts topic holds, repeats included; what drills led to where it is asked for.

    What is no alert is skipped, and counted on stderr.

    Raises:
        CommandError: there is no such topic.
    """
    from driftline.topics.topic_decoder import TopicDecoder  # noqa: PLC0415
    from driftline.topics.topic_reader import TopicReader  # noqa: PLC0415 - light imports
    from stream_monitor.contracts import ALERT_CE_TYPE, DriftAlert  # noqa: PLC0415

    found: list[DriftAlert] = []
    topic = settings.topics.alerts
    values = TopicDecoder(topic, DriftAlert, kind=ALERT_CE_TYPE)
    read = Counter[str]()
    try:
        with TopicReader(settings.kafka.client(), topic) as reader:
            upto = sum(reader.ends().values())
            for record in reader.until(
                lambda: read["records"] >= upto, idle_timeout_s=_IDLE_TIMEOUT_S
            ):
                read["records"] += 1
                alert = values.of(record)
                if alert is not None:
                    found.append(alert)
    except LookupError as error:
        raise CommandError(str(error), fix="driftline topics create") from error
    note(*values.notes())
    return [alert for alert in found if drills or not alert.drill]


def _write_action(
    action: AlertAction,
    episode: str,
    by: str | None,
    reason: str,
    where: tuple[Config, Bootstrap, Prefix],
    until_ms: int | None = None,
) -> None:
    config, bootstrap_servers, prefix = where
    settings = load_settings(config, bootstrap_servers=bootstrap_servers, prefix=prefix)
    write_command(settings, action, episode, by, reason, until_ms)


def reject_long_snooze(settings: Settings, until_ms: int | None, now_ms: int) -> None:
    """Reject, before it is written, a command that the monitor would reject.

    Raises:
        CommandError: a snooze until then is longer than `[limits] max_snooze_ms`.
    """
    longest_ms = settings.monitor_spec().limits.max_snooze_ms
    if until_ms is not None and until_ms - now_ms > longest_ms:
        raise CommandError(
            f"a snooze lasts {longest_ms / 3_600_000:g} h at most",
            why=f"--for asks for {(until_ms - now_ms) / 3_600_000:,.0f} h",
            fix="snooze for less and again later, resolve the episode, or raise [limits] "
            "max_snooze_ms of the monitor",
            code=EXIT_USAGE,
        )


def write_command(
    settings: Settings,
    action: AlertAction,
    episode: str,
    by: str | None,
    reason: str,
    until_ms: int | None = None,
) -> None:
    """Write a person's word on the one open episode whose id begins so into the log.

    Raises:
        CommandError: no open episode begins so, or several do.
    """
    from producer.events import Command  # noqa: PLC0415 - light imports
    from producer.ids import uuid7  # noqa: PLC0415
    from producer.writer import EventWriter  # noqa: PLC0415

    now_ms = round(time.time() * 1000)
    reject_long_snooze(settings, until_ms, now_ms)
    meant = [a for a in open_episodes(read_alerts(settings)) if a.episode_id.startswith(episode)]
    if len(meant) != 1:
        raise CommandError(
            f"{len(meant) or 'no'} open episodes begin with {episode!r}",
            fix="driftline alerts list",
            code=EXIT_USAGE,
        )
    (alert,) = meant
    command = Command(
        id=uuid7(now_ms),
        model=alert.model,
        action=action,
        episode=alert.episode_id,
        actor=by or current_user(),
        time_ms=now_ms,
        until_ms=until_ms,
        reason=reason,
    )
    writer = EventWriter(
        settings.kafka.bootstrap_servers,
        topic_prefix=settings.topics.prefix,
        source="/driftline/alerts",
        librdkafka=settings.kafka.librdkafka,
    )
    writer.write(command, partition=alert.partition)
    writer.flush()
    note(f"{action}: {alert.explanation}")


def current_user() -> str:
    """The name of who runs the command; of a uid without a name, as in containers, its number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid-{os.getuid()}"
