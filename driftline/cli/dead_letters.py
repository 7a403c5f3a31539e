"""``driftline dead-letters show | requeue``: rejected records, and writing them again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import msgspec
import typer

from driftline.cli.alert_actions import duration_ms
from driftline.cli.alerts import second
from driftline.cli.command_error import EXIT_FAILED, CommandError
from driftline.cli.connection import load_settings
from driftline.cli.options import Bootstrap, Config, Json, Prefix
from driftline.cli.output import note, write_json, write_line

if TYPE_CHECKING:
    from driftline.topics.dead_letter_queue import DeadLetterFilter
    from driftline.topics.topic_reader import Record
    from stream_monitor.contracts import DeadLetter
    from stream_monitor.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Dead letters: records that were rejected.")

ModelFilter: TypeAlias = Annotated[
    str | None, typer.Option(help="Only of this model; `unknown` where a record names none.")
]
ReasonFilter: TypeAlias = Annotated[str | None, typer.Option(help="Only for this reason.")]
ProducerName: TypeAlias = Annotated[
    str | None, typer.Option("--producer", help="Only of this producer, as its ce_source says.")
]
Since: TypeAlias = Annotated[
    str | None, typer.Option(help="How far back: 12h, 7d \\[default: all that is kept].")
]
_SHOWN_BYTES: Final = 200


@app.command()
def show(
    config: Config = None,
    bootstrap_servers: Bootstrap = None,
    prefix: Prefix = None,
    model: ModelFilter = None,
    reason: ReasonFilter = None,
    producer: ProducerName = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the latest.")] = 20,
    *,
    as_json: Json = False,
) -> None:
    """Rejected records: where each lies, whose it is, why it was rejected, how it begins.

    With --json, one object a line; its payload is base64.
    """
    settings = load_settings(config, bootstrap_servers=bootstrap_servers, prefix=prefix)
    found = _read_dead_letters(settings, _filter_of(model, reason, producer, since))
    for letter in found[-limit:]:
        if as_json:
            write_json({"id": letter.letter_id, **msgspec.to_builtins(letter)}, indent=0)
            continue
        write_line(
            f"{letter.letter_id}  {second(letter.timestamp_ms)}  {letter.model}  {letter.reason}  "
            f"{letter.source or 'no ce_source'}  {letter.detail}"
        )
        write_line(f"    {payload_start(letter)}")
    _summarise(found, limit)


def payload_start(letter: DeadLetter) -> str:
    r"""How the payload of a dead letter begins, for people.

    >>> from stream_monitor.contracts import DeadLetter
    >>> payload_start(DeadLetter(topic="t", partition=0, offset=0, timestamp_ms=0, reason="r",
    ...     detail="d", sha256="", size_bytes=3, payload=bytes([123, 34, 255])))
    '{"�'
    """
    shown = letter.payload[:_SHOWN_BYTES].decode("utf-8", "replace")
    more = letter.size_bytes - len(letter.payload[:_SHOWN_BYTES])
    return f"{shown}{f' ... and {more:,} bytes more' if more > 0 else ''}" or "no value"


@app.command()
def requeue(
    ids: Annotated[
        list[str] | None, typer.Argument(help="Positions (TOPIC:PARTITION:OFFSET) as `show` says.")
    ] = None,
    config: Config = None,
    bootstrap_servers: Bootstrap = None,
    prefix: Prefix = None,
    model: ModelFilter = None,
    reason: ReasonFilter = None,
    producer: ProducerName = None,
    since: Since = None,
    *,
    yes: Annotated[
        bool,
        typer.Option(
            "--yes", help="Write them; without it the command only says what it would write."
        ),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also those that the monitor would reject again.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write rejected records to the log again, with the id and the headers that they had.

    Each is read from the log, where it still lies.  Control records are not written again, nor what
    ended workers, nor what is of another topic.
    """
    from driftline.topics import dead_letter_queue as dead  # noqa: PLC0415 - light imports

    settings = load_settings(config, bootstrap_servers=bootstrap_servers, prefix=prefix)
    wanted = _filter_of(model, reason, producer, since)._replace(ids=frozenset(ids or ()))
    found = _read_dead_letters(settings, wanted)
    limits = settings.monitor_spec().limits
    client, topic = settings.kafka.client(), settings.topics.events
    records: list[Record] = []
    positions: list[str] = []
    refused: dict[str, str] = dict.fromkeys(sorted(wanted.ids), "there is no such dead letter")
    fit = [letter for letter in found if dead.why_not(letter, topic) is None]
    originals = dead.read_original_records(client, fit)
    for letter in found:
        refused.pop(letter.letter_id, None)
        why = dead.why_not(letter, topic)
        record = originals.get(letter.letter_id)
        if record is None:
            why = why or "the log does not hold it any more, and a dead letter holds no headers"
        else:
            now_ms = round(time.time() * 1000)
            why = dead.reason_not_accepted(record, letter, now_ms, limits)
            if why is not None and (force and record.kind not in dead.CONTROL_TYPES):
                why = None
        if why is not None or record is None:
            refused[letter.letter_id] = why or ""
        else:
            records.append(record)
            positions.append(letter.letter_id)
    failures = dead.requeue_records(client, topic, records) if yes and records else []
    if as_json:
        write_json(
            {
                "written": positions if yes and not failures else [],
                "would_be_written": [] if yes else positions,
                "not_written": refused,
                "failed": failures,
            }
        )
    else:
        for position in positions:
            write_line(f"{'written' if yes else 'would be written'}  {position}")
        for position, why in refused.items():
            write_line(f"not written  {position}  {why}")
    if failures:
        raise CommandError("records did not arrive", why=failures[0], code=EXIT_FAILED)
    note(
        f"{len(positions):,} {'written again' if yes else 'would be written again (--yes)'}, "
        f"{len(refused):,} not"
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

    try:
        letters, notes = read_dead_letters(settings.kafka.client(), settings.topics.dead_letters)
    except LookupError as error:
        raise CommandError(str(error), fix="driftline topics create") from error
    note(*notes)
    return [letter for letter in letters if wanted.has(letter)]


def _summarise(letters: list[DeadLetter], limit: int) -> None:
    """How many there are of what, on stderr."""
    from driftline.topics.dead_letter_queue import group_dead_letters  # noqa: PLC0415 - light imports

    if not letters:
        note("no such dead letter")
        return
    if len(letters) > limit:
        note(f"{len(letters):,} dead letters, the latest {limit:,} shown (--limit)")
    for group in group_dead_letters(letters)[:10]:
        note(f"  {group.n:>7,}  {group.model}  {group.reason}  {group.source or 'no ce_source'}")
