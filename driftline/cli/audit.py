"""``driftline audit MODEL``: who changed what of a model, and when."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from driftline.cli.alert_actions import duration_ms
from driftline.cli.alerts import second
from driftline.cli.command_error import CommandError
from driftline.cli.connection import load_settings
from driftline.cli.options import Bootstrap, Config, Json, Prefix
from driftline.cli.output import note, write_json, write_line


def audit(
    model: Annotated[str, typer.Argument(help="The model.")],
    config: Config = None,
    bootstrap_servers: Bootstrap = None,
    prefix: Prefix = None,
    since: Annotated[
        str | None, typer.Option("--since", help="How far back: 12h, 7d \\[default: all of it].")
    ] = None,
    *,
    as_json: Json = False,
) -> None:
    """Versions, profiles, acknowledgements, snoozes, placements: read from the log itself.

    Who did it is what the record says of itself: whoever may write to the log may write any name
    (SECURITY.md).  With --json, one object a line.
    """
    from driftline.topics.control_history import control_changes, read_control_records  # noqa: PLC0415 - light imports
    from driftline.topics.dead_letter_queue import read_dead_letters  # noqa: PLC0415

    settings = load_settings(config, bootstrap_servers=bootstrap_servers, prefix=prefix)
    client, topic = settings.kafka.client(), settings.topics.events
    since_ms = 0
    if since is not None:
        since_ms = round(time.time() * 1000) - duration_ms(since, option="--since")
    try:
        records = read_control_records(client, topic)
        letters, notes = read_dead_letters(client, settings.topics.dead_letters)
    except LookupError as error:
        raise CommandError(str(error), fix="driftline topics create") from error
    note(*notes)
    rejected = {one.letter_id: f"{one.reason}: {one.detail}" for one in letters}
    found = [
        one for one in control_changes(records, topic, model, rejected) if one.time_ms >= since_ms
    ]
    for change in found:
        if as_json:
            write_json(change, indent=0)
            continue
        who = f"{change.actor or 'nobody named'} ({change.source or 'no ce_source'})"
        why = f"  {change.reason}" if change.reason else ""
        no = f"  REJECTED, {change.rejected}" if change.rejected else ""
        write_line(f"{second(change.time_ms)}  {change.position}  {who}  {change.what}{why}{no}")
    if not found:
        note(f"the log holds no change of {model}")
