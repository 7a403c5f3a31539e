"""``driftline alerts``: show alerts as they arrive, and list and handle open episodes."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import typer

from driftline.cli.alert_actions import ActionTarget, add_actions
from driftline.cli.command_error import UsageError
from driftline.cli.option_groups import kafka_settings, option_groups
from driftline.cli.options import IncludeDrills, Json, ModelFilter
from driftline.cli.output import format_timestamp, note, write_json, write_line
from producer.names import version_key

if TYPE_CHECKING:
    from driftline.monitor_state.open_episodes import OpenEpisodeRow
    from driftline.topics.topic_reader import TopicDecoder
    from stream_monitor.contracts import DriftAlert
    from stream_monitor.settings import Settings

SHORT_ID: Final = 12
"""Number of characters of an id that are printed; `acknowledge` and the others accept them."""

app = typer.Typer(
    no_args_is_help=True, help="Alerts, and the episodes of drift that they belong to."
)


def line_of(alert: DriftAlert) -> str:
    """An alert as one line: episode id, event time, phase, kind, severity, version, sentence."""
    drill = "DRILL " if alert.drill else ""
    return (
        f"{alert.episode_id[:SHORT_ID]}  {format_timestamp(alert.decided_ms)}  {alert.phase:<12} "
        f"{alert.kind:<10} {alert.severity:<6} "
        f"{version_key(alert.model, alert.version)}  "
        f"{drill}{alert.explanation}"
    )


@contextlib.contextmanager
def _skipped_records_noted(values: TopicDecoder[DriftAlert]) -> Iterator[None]:
    """Print what was skipped, also after Ctrl-C, which is how `tail` usually ends."""
    try:
        yield
    finally:
        note(*values.notes())


@app.command()
@option_groups(settings=kafka_settings)
def tail(
    settings: Settings,
    model: ModelFilter = None,
    *,
    as_json: Json = False,
    drills: IncludeDrills = False,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Also print alerts already on the topic.")
    ] = False,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Wait for new alerts, or stop at the end.")
    ] = True,
) -> None:
    """Print alerts as they arrive, each once.  With --json, one object a line.

    Each line begins with the id that `alerts acknowledge`, `snooze` and `resolve` accept.
    """
    from driftline.topics.topic_reader import BEGINNING, END, TopicDecoder, TopicReader  # noqa: PLC0415 - light imports
    from stream_monitor.contracts import ALERT_CE_TYPE, DriftAlert  # noqa: PLC0415

    topic = settings.topics.alerts
    start = BEGINNING if from_beginning else END
    reader = TopicReader(settings.kafka.client(), topic, start=start)
    seen: set[str] = set()
    values = TopicDecoder(topic, DriftAlert, kind=ALERT_CE_TYPE)
    with reader, _skipped_records_noted(values):
        if follow and sys.stderr.isatty():
            note(f"waiting for alerts on {topic}; Ctrl-C stops")
        while True:
            records = reader.poll(0.5 if follow else 2.0)
            for record in records:
                alert = values.of(record)
                if alert is None or alert.alert_id in seen or model not in (None, alert.model):
                    continue
                if alert.drill and not drills:
                    continue
                seen.add(alert.alert_id)
                if as_json:
                    write_json(msgspec.json.decode(record.value or b""), indent=0)
                else:
                    write_line(line_of(alert))
            if not records and not follow:
                return


@app.command("list")
@option_groups(settings=kafka_settings)
def list_open(
    settings: Settings,
    model: ModelFilter = None,
    *,
    drills: IncludeDrills = False,
    as_json: Json = False,
) -> None:
    """Open episodes: the latest alert of each, and how close the episode is to recovery."""
    alerts = read_open_alerts(settings, drills=drills)
    found = [alert for alert in alerts if model in (None, alert.model)]
    rows = _open_episode_rows(settings, {alert.partition for alert in found})
    for alert in with_current_state(found, rows):
        if as_json:
            write_json(alert, indent=0)
        else:
            write_line(line_of(alert))
    if not found and not as_json:
        note("no episode is open")


def with_current_state(
    alerts: Iterable[DriftAlert], rows: Iterable[OpenEpisodeRow]
) -> list[DriftAlert]:
    """Return the alerts, updated from the monitor's state if it contains their episode.

    The sentence and the number of events without drift are replaced.
    """
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
    """Open episodes in the monitor's state; an empty list where Redis cannot be read."""
    from redis import RedisError  # noqa: PLC0415 - light imports

    from driftline.cli.connection import connect_redis  # noqa: PLC0415
    from driftline.monitor_state.open_episodes import open_episode_rows  # noqa: PLC0415
    from driftline.monitor_state.partition_state import read_monitors  # noqa: PLC0415

    if not partitions:
        return []
    try:
        return open_episode_rows(
            read_monitors(connect_redis(settings), settings, sorted(partitions))
        )
    except (RedisError, ValueError) as error:
        note(f"cannot read the monitor's state ({error}): episodes are as of their last alerts")
        return []


def read_open_alerts(settings: Settings, *, drills: bool = False) -> list[DriftAlert]:
    """The latest alert of each open episode; unreadable records are named on stderr.

    Raises:
        MissingTopicError: the alerts topic does not exist.
    """
    from driftline.topics.alert_history import open_alerts, read_alerts  # noqa: PLC0415 - light imports

    alerts, notes = read_alerts(settings.kafka.client(), settings.topics.alerts, drills=drills)
    note(*notes)
    return open_alerts(alerts)


def open_episode_by_id(settings: Settings, id_prefix: str) -> list[DriftAlert]:
    """The latest alert of the one open episode whose id begins with ``id_prefix``.

    Raises:
        CommandError: no open episode, or more than one, has such an id.
    """
    found = [a for a in read_open_alerts(settings) if a.episode_id.startswith(id_prefix)]
    if len(found) != 1:
        many = f"{len(found)} open episodes have" if found else "no open episode has"
        raise UsageError(
            f"{many} an id that begins with {id_prefix!r}", fix="driftline alerts list"
        )
    return found


add_actions(
    app,
    ActionTarget(
        metavar="EPISODE",
        argument_help="Id of an open episode, or its first characters: driftline alerts list.",
        episodes="an open episode",
        find=open_episode_by_id,
    ),
)
