"""``driftline forward``: labels or foreign logs from topics of their own into the log."""

from __future__ import annotations

import signal
from typing import Annotated

import typer

from driftline.commands.connection import load_settings
from driftline.commands.failure import RUNTIME, USAGE, Failure
from driftline.commands.options import Bootstrap, Config, Json, Prefix
from driftline.commands.output import note, write_json


def forward(
    source: Annotated[str, typer.Argument(help="The topic to read.")],
    as_: Annotated[
        str | None,
        typer.Option(
            "--as",
            help="label or event: JSON objects; options name their fields, or point to them: /a/b.",
        ),
    ] = None,
    model: Annotated[str, typer.Option(help="Name of the model.")] = "",
    version: Annotated[str, typer.Option(help="Of events: the model's version.")] = "",
    model_field: Annotated[str, typer.Option(help="Field with the model's name.")] = "",
    version_field: Annotated[str, typer.Option(help="Field with the version.")] = "",
    id_field: Annotated[str, typer.Option(help="Field with the id of the prediction.")] = "id",
    time_field: Annotated[str, typer.Option(help="Field with the event time.")] = "time_ms",
    label_field: Annotated[str, typer.Option(help="Field with the truth.")] = "label",
    prediction_field: Annotated[str, typer.Option(help="Field of the prediction.")] = "prediction",
    features: Annotated[
        str, typer.Option(help="Fields to watch, by commas \\[default: all others].")
    ] = "",
    features_field: Annotated[
        str,
        typer.Option(help="Field with an object of features \\[default: features, if it is one]."),
    ] = "",
    shards: Annotated[int, typer.Option(min=1, help="Of a hot model.")] = 1,
    group: Annotated[
        str | None,
        typer.Option(help="Consumer group [default: one a prefix, topic, kind and model]."),
    ] = None,
    config: Config = None,
    bootstrap_servers: Bootstrap = None,
    prefix: Prefix = None,
    *,
    once: Annotated[bool, typer.Option("--once", help="Stop at the end of the topic.")] = False,
    as_json: Json = False,
) -> None:
    """Copy a topic into the log, at least once; ids remove what comes twice.

    Without --as the records are driftline's own contract already.  What cannot be read or
    is too large is a dead letter; too much of it ends the forwarder, and nothing of that is
    committed.
    """
    from driftline.forwarding.forwarder import Forwarder, TooManyRefused, group_of  # noqa: PLC0415
    from driftline.forwarding.mapping import field_map  # noqa: PLC0415
    from producer.writer import Undelivered  # noqa: PLC0415

    try:
        fields = field_map(
            as_, model=model, version=version, model_field=model_field,
            version_field=version_field, id_field=id_field, time_field=time_field,
            label_field=label_field, prediction_field=prediction_field,
            features=tuple(name for name in features.split(",") if name),
            features_field=features_field,
        )  # fmt: skip
    except ValueError as error:
        raise Failure("the mapping is not complete", why=str(error), code=USAGE) from error
    settings = load_settings(config, bootstrap_servers=bootstrap_servers, prefix=prefix)
    try:
        forwarder = Forwarder(
            settings.kafka.client(), source,
            group=group or group_of(settings.topics.prefix, source, fields),
            prefix=settings.topics.prefix, dead_letters=settings.topics.dead_letters,
            fields=fields, shards=shards,
        )  # fmt: skip
    except LookupError as error:
        raise Failure(str(error), code=USAGE) from error
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stopping.append(number))
    note(f"forwarding {source} to {settings.topics.events}")
    try:
        for at_end in forwarder.rounds():
            if stopping or (once and at_end):
                break
    except TooManyRefused as error:
        raise Failure(
            "the forwarder stops: it rejected too many records", where=source, why=str(error),
            fix="look at the dead letters, then mend the mapping or the source", code=RUNTIME,
        ) from error  # fmt: skip
    except Undelivered as error:
        raise Failure(
            "Kafka did not take it; nothing of it is committed", where=settings.topics.events,
            why=str(error), fix="start it again: it goes on where it was", code=RUNTIME,
        ) from error  # fmt: skip
    finally:
        forwarder.close()
    done, left_out = forwarder.forwarded, forwarder.left_out
    if as_json:
        write_json(done._asdict() | ({"left_out": left_out} if left_out else {}), indent=0)
    else:
        note(f"{done.events:,} events forwarded, {done.refused:,} records rejected")
    for name, n in left_out.most_common():
        note(
            f"not watched: {name}: it is no scalar, in {n:,} records (--features-field, --features)"
        )
    if once and done.refused and not done.events:
        raise Failure(
            "every record was rejected", where=source,
            why=f"the last: {forwarder.last_refusal}",
            fix="look at the dead letters, then mend the mapping or the source", code=RUNTIME,
        )  # fmt: skip
