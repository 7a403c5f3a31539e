"""``driftline alerts tail``: alerts as they come."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from driftline.commands.connection import load_settings
from driftline.commands.failure import Failure
from driftline.commands.options import Bootstrap, Config, Drills, Json, Prefix
from driftline.commands.output import note

if TYPE_CHECKING:
    from stream_monitor.contracts import DriftAlert

app = typer.Typer(no_args_is_help=True, help="Alerts: the phases of episodes of drift.")


def line_of(alert: DriftAlert) -> str:
    """One alert as a line: when it was decided (event time), what, how bad, the sentence."""
    drill = "DRILL " if alert.drill else ""
    decided = datetime.fromtimestamp(alert.decided_ms / 1000, UTC)
    return (
        f"{decided:%Y-%m-%d %H:%M}Z  {alert.phase:<12} {alert.kind:<10} {alert.severity:<6} "
        f"{alert.model}@{alert.version}  {drill}{alert.explanation}"
    )


@app.command()
def tail(
    config: Config = None,
    bootstrap_servers: Bootstrap = None,
    prefix: Prefix = None,
    model: Annotated[str | None, typer.Option(help="Only this model's.")] = None,
    *,
    as_json: Json = False,
    drills: Drills = False,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="What is on the topic already, too.")
    ] = False,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Wait for more, or stop at the end.")
    ] = True,
) -> None:
    """Print alerts as they come; repeats are left out.  With --json, one object a line."""
    from driftline.reading import BEGINNING, END, TopicReader  # noqa: PLC0415 - light imports
    from stream_monitor.contracts import DriftAlert  # noqa: PLC0415

    settings = load_settings(config, bootstrap_servers=bootstrap_servers, prefix=prefix)
    topic = settings.topics.alerts
    start = BEGINNING if from_beginning else END
    try:
        reader = TopicReader(settings.kafka.client(), topic, start=start)
    except LookupError as error:
        raise Failure(str(error), fix="driftline topics create") from error
    seen: set[str] = set()
    with reader:
        if follow and sys.stderr.isatty():
            note(f"following {topic}; Ctrl-C stops")
        while True:
            records = reader.poll(0.5 if follow else 2.0)
            for record in records:
                alert = msgspec.json.decode(record.value or b"", type=DriftAlert)
                if alert.alert_id in seen or (model is not None and alert.model != model):
                    continue
                if alert.drill and not drills:
                    continue
                seen.add(alert.alert_id)
                text = (record.value or b"").decode() if as_json else line_of(alert)
                sys.stdout.write(text + "\n")
            sys.stdout.flush()
            if not records and not follow:
                return
