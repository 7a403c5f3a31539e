"""``driftline audit MODEL``: who changed what of a model, and when."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from driftline.commands.alerts import second
from driftline.commands.connection import load_settings
from driftline.commands.failure import Failure
from driftline.commands.handling import duration_ms
from driftline.commands.options import Bootstrap, Config, Json, Prefix
from driftline.commands.output import note, write_json, write_line


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
    from driftline.control_history import changes_of, read_control  # noqa: PLC0415 - light imports
    from driftline.rejected_records import read_letters  # noqa: PLC0415

    settings = load_settings(config, bootstrap_servers=bootstrap_servers, prefix=prefix)
    client, topic = settings.kafka.client(), settings.topics.events
    since_ms = 0
    if since is not None:
        since_ms = round(time.time() * 1000) - duration_ms(since, option="--since")
    try:
        records = read_control(client, topic)
        letters, notes = read_letters(client, settings.topics.dead_letters)
    except LookupError as error:
        raise Failure(str(error), fix="driftline topics create") from error
    note(*notes)
    rejected = {one.letter_id: f"{one.reason}: {one.detail}" for one in letters}
    found = [one for one in changes_of(records, topic, model, rejected) if one.time_ms >= since_ms]
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
