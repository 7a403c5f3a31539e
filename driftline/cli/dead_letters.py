"""``driftline dead-letters``: show rejected records, and write their originals again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import msgspec
import typer

from driftline.cli.command_error import CommandError
from driftline.cli.option_groups import kafka_settings, option_groups
from driftline.cli.options import Json, duration_ms
from driftline.cli.output import format_timestamp, note, write_json, write_line

if TYPE_CHECKING:
    from driftline.topics.dead_letter_queue import DeadLetterFilter
    from driftline.topics.topic_reader import Record
    from stream_monitor.contracts import DeadLetter
    from stream_monitor.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Dead letters: records that were rejected.")

ModelFilter: TypeAlias = Annotated[
    str | None,
    typer.Option(help="Only records of this model; `unknown` for records that name no model."),
]
ReasonFilter: TypeAlias = Annotated[
    str | None, typer.Option(help="Only records that were rejected for this reason.")
]
ProducerName: TypeAlias = Annotated[
    str | None,
    typer.Option("--producer", help="Only records of this producer (their ce_source header)."),
]
Since: TypeAlias = Annotated[
    str | None, typer.Option(help="How far back: 12h, 7d \\[default: all records].")
]
_SHOWN_BYTES: Final = 200


@app.command()
@option_groups(settings=kafka_settings)
def show(
    settings: Settings,
    model: ModelFilter = None,
    reason: ReasonFilter = None,
    producer: ProducerName = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, help="Show only the latest ones.")] = 20,
    *,
    as_json: Json = False,
) -> None:
    """Show rejected records: position, time, model, reason, producer and first bytes.

    With --json, one object a line; the payload is base64.
    """
    found = _read_dead_letters(settings, _filter_of(model, reason, producer, since))
    for dead_letter in found[-limit:]:
        if as_json:
            write_json(
                {"id": dead_letter.dead_letter_id, **msgspec.to_builtins(dead_letter)}, indent=0
            )
            continue
        write_line(
            f"{dead_letter.dead_letter_id}  {format_timestamp(dead_letter.timestamp_ms)}  "
            f"{dead_letter.model}  {dead_letter.reason}  "
            f"{dead_letter.source or 'no ce_source'}  {dead_letter.detail}"
        )
        write_line(f"    {payload_start(dead_letter)}")
    _summarise(found, limit)


def payload_start(dead_letter: DeadLetter) -> str:
    r"""The first bytes of the payload of a dead letter, as text.

    >>> from stream_monitor.contracts import DeadLetter
    >>> payload_start(DeadLetter(topic="t", partition=0, offset=0, timestamp_ms=0, reason="r",
    ...     detail="d", sha256="", size_bytes=3, payload=bytes([123, 34, 255])))
    '{"�'
    """
    shown = dead_letter.payload[:_SHOWN_BYTES].decode("utf-8", "replace")
    more = dead_letter.size_bytes - len(dead_letter.payload[:_SHOWN_BYTES])
    return f"{shown}{f' ... and {more:,} bytes more' if more > 0 else ''}" or "no value"


@app.command()
@option_groups(settings=kafka_settings)
def requeue(
    *,
    ids: Annotated[
        list[str] | None,
        typer.Argument(help="Positions TOPIC:PARTITION:OFFSET[:ROW], as `show` prints them."),
    ] = None,
    settings: Settings,
    model: ModelFilter = None,
    reason: ReasonFilter = None,
    producer: ProducerName = None,
    since: Since = None,
    yes: Annotated[
        bool,
        typer.Option("--yes", help="Write the records; without it, the command only lists them."),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also write records that would be rejected again.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write rejected records to the event topic again, with their key, headers and id.

    The original record is read from the event topic.  Control records, poison records (which
    ended workers) and records of other topics are not written.  The events of a poison record that
    is a batch are written one by one, so that only the one that ends workers is skipped again.
    """
    from driftline.topics import dead_letter_queue as queue  # noqa: PLC0415 - light imports

    wanted = _filter_of(model, reason, producer, since)._replace(ids=frozenset(ids or ()))
    found = _read_dead_letters(settings, wanted)
    limits = settings.monitor_spec().limits
    client, topic = settings.kafka.client(), settings.topics.events
    records: list[Record] = []
    positions: list[str] = []
    not_written: dict[str, str] = dict.fromkeys(sorted(wanted.ids), "there is no such dead letter")
    eligible = [
        each
        for each in found
        if each.reason == queue.POISON_RECORD or queue.reason_not_requeued(each, topic) is None
    ]
    originals = queue.read_original_records(client, eligible)
    for dead_letter in found:
        not_written.pop(dead_letter.dead_letter_id, None)
        original = originals.get(dead_letter.dead_letter_id)
        now_ms = round(time.time() * 1000)
        to_write = queue.records_to_requeue(
            original, dead_letter, topic, now_ms, limits, force=force
        )
        if isinstance(to_write, str):
            not_written[dead_letter.dead_letter_id] = to_write
        else:
            records += to_write
            positions.append(dead_letter.dead_letter_id)
    failures = queue.requeue_records(client, topic, records) if yes and records else []
    if as_json:
        write_json(
            {
                "written": positions if yes and not failures else [],
                "would_be_written": [] if yes else positions,
                "not_written": not_written,
                "failed": failures,
            }
        )
    else:
        for position in positions:
            write_line(f"{'written' if yes else 'would be written'}  {position}")
        for position, why in not_written.items():
            write_line(f"not written  {position}  {why}")
    if failures:
        raise CommandError(
            f"Kafka did not acknowledge {len(failures):,} records",
            where=topic,
            why=failures[0],
            fix="run `driftline doctor`, fix what it finds, then repeat the command",
        )
    note(
        f"{len(positions):,} records {'written' if yes else 'would be written (--yes)'}, "
        f"{len(not_written):,} not written"
    )


def _filter_of(
    model: str | None, reason: str | None, producer: str | None, since: str | None
) -> DeadLetterFilter:
    from driftline.topics.dead_letter_queue import DeadLetterFilter  # noqa: PLC0415

    since_ms = None
    if since is not None:
        since_ms = round(time.time() * 1000) - duration_ms(since, option="--since")
    return DeadLetterFilter(model, reason, producer, since_ms)


def _read_dead_letters(settings: Settings, wanted: DeadLetterFilter) -> list[DeadLetter]:
    from driftline.topics.dead_letter_queue import read_dead_letters  # noqa: PLC0415 - light imports

    dead_letters, notes = read_dead_letters(settings.kafka.client(), settings.topics.dead_letters)
    note(*notes)
    return [each for each in dead_letters if wanted.has(each)]


def _summarise(dead_letters: list[DeadLetter], limit: int) -> None:
    """Print counts by model, reason and producer to stderr."""
    from driftline.topics.dead_letter_queue import group_dead_letters  # noqa: PLC0415 - light imports

    if not dead_letters:
        note("no such dead letter")
        return
    if len(dead_letters) > limit:
        note(f"{len(dead_letters):,} dead letters, the latest {limit:,} shown (--limit)")
    for group in group_dead_letters(dead_letters)[:10]:
        note(f"  {group.n:>7,}  {group.model}  {group.reason}  {group.source or 'no ce_source'}")
