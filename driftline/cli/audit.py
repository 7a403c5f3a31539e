"""``driftline audit MODEL``: list the changes that were made to a model, by whom and when."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from driftline.cli.option_groups import kafka_settings, option_groups
from driftline.cli.options import Json, duration_ms
from driftline.cli.output import format_timestamp, note, write_json, write_line

if TYPE_CHECKING:
    from stream_monitor.settings import Settings


@option_groups(settings=kafka_settings)
def audit(
    model: Annotated[str, typer.Argument(help="The model.")],
    settings: Settings,
    since: Annotated[
        str | None, typer.Option("--since", help="How far back: 12h, 7d \\[default: everything].")
    ] = None,
    *,
    as_json: Json = False,
) -> None:
    """List every change of a model: versions, profiles, acknowledgements, snoozes, placements.

    The changes are read from the event topic.  The name of the person is the one in the record; it
    is no proof, because every producer with write access can write any name (SECURITY.md).  With
    --json, one object a line.
    """
    from driftline.topics.control_history import control_changes, read_control_records  # noqa: PLC0415 - light imports
    from driftline.topics.dead_letter_queue import read_dead_letters  # noqa: PLC0415

    client, topic = settings.kafka.client(), settings.topics.events
    since_ms = 0
    if since is not None:
        since_ms = round(time.time() * 1000) - duration_ms(since, option="--since")
    records = read_control_records(client, topic)
    dead_letters, notes = read_dead_letters(client, settings.topics.dead_letters)
    note(*notes)
    rejected = {one.dead_letter_id: f"{one.reason}: {one.detail}" for one in dead_letters}
    found = [
        one for one in control_changes(records, topic, model, rejected) if one.time_ms >= since_ms
    ]
    for change in found:
        if as_json:
            write_json(change, indent=0)
            continue
        who = f"{change.actor or 'no name'} ({change.source or 'no ce_source'})"
        why = f"  {change.reason}" if change.reason else ""
        no = f"  REJECTED, {change.rejected}" if change.rejected else ""
        what = f"{change.description}{why}{no}"
        write_line(f"{format_timestamp(change.time_ms)}  {change.position}  {who}  {what}")
    if not found:
        note(f"{topic} holds no change of {model}")
