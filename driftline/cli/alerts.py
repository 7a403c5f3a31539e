"""``driftline alerts tail``: alerts as they come."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import typer

from driftline.cli.command_error import CommandError
from driftline.cli.connection import load_settings
from driftline.cli.options import Bootstrap, Config, IncludeDrills, Json, Prefix
from driftline.cli.output import note, write_json, write_line
from producer.names import version_key

if TYPE_CHECKING:
    from driftline.topics.topic_decoder import TopicDecoder
    from stream_monitor.contracts import DriftAlert

SHORT_ID: Final = 12
"""So much of an id is printed, and is enough for `acknowledge`, `snooze` and `resolve`."""

app = typer.Typer(no_args_is_help=True, help="Alerts: the phases of episodes of drift.")


def line_of(alert: DriftAlert) -> str:
    """One alert as a line: the episode's id, when it was decided (event time), what, how bad."""
    drill = "DRILL " if alert.drill else ""
    return (
        f"{alert.episode_id[:SHORT_ID]}  {second(alert.decided_ms)}  {alert.phase:<12} "
        f"{alert.kind:<10} {alert.severity:<6} "
        f"{version_key(alert.model, alert.version)}  "
        f"{drill}{alert.explanation}"
    )


def second(time_ms: int) -> str:
    """A time to the second, in UTC; one that no calendar has, as the number it is.

    >>> second(1384903980999), second(1 << 62)
    ('2013-11-19 23:33:00Z', '4611686018427387904 ms')
    """
    try:
        return f"{datetime.fromtimestamp(time_ms // 1000, UTC):%Y-%m-%d %H:%M:%S}Z"
    except (ValueError, OverflowError, OSError):
        return f"{time_ms} ms"


@contextlib.contextmanager
def _skipped_records_noted(values: TopicDecoder[DriftAlert]) -> Iterator[None]:
    """Say what was skipped, however it ends: Ctrl-C is the usual way."""
    try:
        yield
    finally:
        note(*values.notes())


@app.command()
def tail(
    config: Config = None,
    bootstrap_servers: Bootstrap = None,
    prefix: Prefix = None,
    model: Annotated[str | None, typer.Option(help="Only this model's.")] = None,
    *,
    as_json: Json = False,
    drills: IncludeDrills = False,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="What is on the topic already, too.")
    ] = False,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Wait for more, or stop at the end.")
    ] = True,
) -> None:
    """Print alerts as they come; repeats are left out.  With --json, one object a line.

    A line begins with what `alerts acknowledge`, `snooze` and `resolve` take as the episode.
    """
    from driftline.topics.topic_decoder import TopicDecoder  # noqa: PLC0415
    from driftline.topics.topic_reader import BEGINNING, END, TopicReader  # noqa: PLC0415 - light imports
    from stream_monitor.contracts import ALERT_CE_TYPE, DriftAlert  # noqa: PLC0415

    settings = load_settings(config, bootstrap_servers=bootstrap_servers, prefix=prefix)
    topic = settings.topics.alerts
    start = BEGINNING if from_beginning else END
    try:
        reader = TopicReader(settings.kafka.client(), topic, start=start)
    except LookupError as error:
        raise CommandError(str(error), fix="driftline topics create") from error
    seen: set[str] = set()
    values = TopicDecoder(topic, DriftAlert, kind=ALERT_CE_TYPE)
    with reader, _skipped_records_noted(values):
        if follow and sys.stderr.isatty():
            note(f"following {topic}; Ctrl-C stops")
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
