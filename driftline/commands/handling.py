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

from driftline.commands.alerts import app, line_of
from driftline.commands.connection import load_settings
from driftline.commands.failure import USAGE, Failure
from driftline.commands.options import Bootstrap, Config, Drills, Json, Prefix
from driftline.commands.output import note, write_json, write_line

if TYPE_CHECKING:
    from driftline.open_episodes import OpenRow
    from stream_monitor.contracts import DriftAlert
    from stream_monitor.settings import Settings

__all__ = ["app"]

Action: TypeAlias = Literal["acknowledge", "snooze", "resolve"]
Episode: TypeAlias = Annotated[
    str, typer.Argument(help="Id of an episode, or how it begins: driftline alerts list.")
]
By: TypeAlias = Annotated[str | None, typer.Option("--by", help="Who you are.")]
Reason: TypeAlias = Annotated[str, typer.Option("--reason", help="Why, for the others.")]

_UNIT_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_QUIET_S: Final = 2.0


@app.command("list")
def list_open(
    config: Config = None,
    bootstrap_servers: Bootstrap = None,
    prefix: Prefix = None,
    model: Annotated[str | None, typer.Option(help="Only this model's.")] = None,
    *,
    drills: Drills = False,
    as_json: Json = False,
) -> None:
    """Episodes that are open: the last alert of each, and how far it is from its end by now."""
    settings = load_settings(config, bootstrap_servers=bootstrap_servers, prefix=prefix)
    alerts = read_alerts(settings, drills=drills)
    found = [a for a in open_episodes(alerts) if model in (None, a.model)]
    for alert in as_of_now(found, _rows(settings, {alert.partition for alert in found})):
        if as_json:
            write_json(alert, indent=0)
        else:
            write_line(line_of(alert))
    if not found and not as_json:
        note("no episode is open")


def as_of_now(alerts: Iterable[DriftAlert], rows: Iterable[OpenRow]) -> list[DriftAlert]:
    """The alerts with what the monitor's state says since: what drifts, how far from its end."""
    from driftline.open_episodes import words_of  # noqa: PLC0415 - light imports

    known = {row.episode_id: row for row in rows}
    return [
        alert
        if (row := known.get(alert.episode_id)) is None
        else msgspec.structs.replace(
            alert,
            explanation=words_of(row),
            clear_events=row.clear_events,
            clear_needed=row.clear_needed,
        )
        for alert in alerts
    ]


def _rows(settings: Settings, partitions: set[int]) -> list[OpenRow]:
    """Open episodes as the state has them; none where it cannot be read: the alerts will do."""
    from redis import RedisError  # noqa: PLC0415 - light imports

    from driftline.commands.connection import connect_redis  # noqa: PLC0415
    from driftline.commands.status import read_monitors  # noqa: PLC0415
    from driftline.open_episodes import open_rows  # noqa: PLC0415

    if not partitions:
        return []
    try:
        return open_rows(read_monitors(connect_redis(settings), settings, sorted(partitions)))
    except (RedisError, ValueError) as error:
        note(f"cannot read the monitor's state ({error}): episodes are as of their last alerts")
        return []


@app.command()
def acknowledge(
    episode: Episode,
    by: By = None,
    reason: Reason = "",
    config: Config = None,
    bootstrap_servers: Bootstrap = None,
    prefix: Prefix = None,
) -> None:
    """Say that you know: later alerts of the episode say so."""
    _command("acknowledge", episode, by, reason, (config, bootstrap_servers, prefix))


@app.command()
def snooze(
    episode: Episode,
    for_: Annotated[str, typer.Option("--for", help="How long: 30m, 2h, 3d.")],
    by: By = None,
    reason: Reason = "",
    config: Config = None,
    bootstrap_servers: Bootstrap = None,
    prefix: Prefix = None,
) -> None:
    """No more alerts of its series for a while; suppressed alerts are counted."""
    until_ms = round(time.time() * 1000) + duration_ms(for_)
    _command("snooze", episode, by, reason, (config, bootstrap_servers, prefix), until_ms)


@app.command()
def resolve(
    episode: Episode,
    by: By = None,
    reason: Reason = "",
    config: Config = None,
    bootstrap_servers: Bootstrap = None,
    prefix: Prefix = None,
) -> None:
    """End the episode; the series is watched on, against its reference."""
    _command("resolve", episode, by, reason, (config, bootstrap_servers, prefix))


def duration_ms(text: str, *, option: str = "--for") -> int:
    """How long ``2h`` is.

    Raises:
        Failure: it says something else.

    >>> duration_ms("2h"), duration_ms("90s")
    (7200000, 90000)
    """
    found = re.fullmatch(r"(\d+)([smhd])", text)
    if found is None:
        raise Failure(f"{option}: {text!r} is no duration", fix="30m, 2h, 3d", code=USAGE)
    return int(found[1]) * _UNIT_MS[found[2]]


def open_episodes(alerts: Iterable[DriftAlert]) -> list[DriftAlert]:
    """The last alert of each episode that has not ended, in the order they began."""
    from stream_monitor.contracts import ENDED  # noqa: PLC0415 - light imports

    latest: dict[str, DriftAlert] = {}
    ended: set[str] = set()
    for alert in alerts:
        latest[alert.episode_id] = alert
        if alert.phase in ENDED:
            ended.add(alert.episode_id)
    return [alert for episode_id, alert in latest.items() if episode_id not in ended]


def read_alerts(settings: Settings, *, drills: bool = False) -> list[DriftAlert]:
    """All that the alerts topic holds, repeats included; what drills led to where it is asked for.

    What is no alert is skipped, and counted on stderr.

    Raises:
        Failure: there is no such topic.
    """
    from driftline.reading import TopicReader  # noqa: PLC0415 - light imports
    from driftline.topic_values import TopicValues  # noqa: PLC0415
    from stream_monitor.contracts import ALERT_CE_TYPE, DriftAlert  # noqa: PLC0415

    found: list[DriftAlert] = []
    topic = settings.topics.alerts
    values = TopicValues(topic, DriftAlert, kind=ALERT_CE_TYPE)
    read = Counter[str]()
    try:
        with TopicReader(settings.kafka.client(), topic) as reader:
            upto = sum(reader.ends().values())
            for record in reader.until(lambda: read["records"] >= upto, quiet_s=_QUIET_S):
                read["records"] += 1
                alert = values.of(record)
                if alert is not None:
                    found.append(alert)
    except LookupError as error:
        raise Failure(str(error), fix="driftline topics create") from error
    note(*values.notes())
    return [alert for alert in found if drills or not alert.drill]


def _command(
    action: Action,
    episode: str,
    by: str | None,
    reason: str,
    where: tuple[Config, Bootstrap, Prefix],
    until_ms: int | None = None,
) -> None:
    config, bootstrap_servers, prefix = where
    settings = load_settings(config, bootstrap_servers=bootstrap_servers, prefix=prefix)
    write_command(settings, action, episode, by, reason, until_ms)


def refuse_long_snooze(settings: Settings, until_ms: int | None, now_ms: int) -> None:
    """Reject, before it is written, a command that the monitor would reject.

    Raises:
        Failure: a snooze until then is longer than `[limits] max_snooze_ms`.
    """
    longest_ms = settings.monitor_spec().limits.max_snooze_ms
    if until_ms is not None and until_ms - now_ms > longest_ms:
        raise Failure(
            f"a snooze lasts {longest_ms / 3_600_000:g} h at most",
            why=f"--for asks for {(until_ms - now_ms) / 3_600_000:,.0f} h",
            fix="snooze for less and again later, resolve the episode, or raise [limits] "
            "max_snooze_ms of the monitor",
            code=USAGE,
        )


def write_command(
    settings: Settings,
    action: Action,
    episode: str,
    by: str | None,
    reason: str,
    until_ms: int | None = None,
) -> None:
    """Write a person's word on the one open episode whose id begins so into the log.

    Raises:
        Failure: no open episode begins so, or several do.
    """
    from producer.events import Command  # noqa: PLC0415 - light imports
    from producer.identity import uuid7  # noqa: PLC0415
    from producer.writer import LogWriter  # noqa: PLC0415

    now_ms = round(time.time() * 1000)
    refuse_long_snooze(settings, until_ms, now_ms)
    meant = [a for a in open_episodes(read_alerts(settings)) if a.episode_id.startswith(episode)]
    if len(meant) != 1:
        raise Failure(
            f"{len(meant) or 'no'} open episodes begin with {episode!r}",
            fix="driftline alerts list", code=USAGE,
        )  # fmt: skip
    (alert,) = meant
    command = Command(
        id=uuid7(now_ms), model=alert.model, action=action, episode=alert.episode_id,
        actor=by or user_name(), time_ms=now_ms, until_ms=until_ms, reason=reason,
    )  # fmt: skip
    writer = LogWriter(
        settings.kafka.bootstrap_servers, topic_prefix=settings.topics.prefix,
        source="/driftline/alerts", librdkafka=settings.kafka.librdkafka,
    )  # fmt: skip
    writer.write(command, partition=alert.partition)
    writer.flush()
    note(f"{action}: {alert.explanation}")


def user_name() -> str:
    """The name of who runs the command; of a uid without a name, as in containers, its number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid-{os.getuid()}"
