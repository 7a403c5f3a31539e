"""``driftline forward``: labels or foreign logs from topics of their own into the log."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Annotated, Final

import typer

from driftline.cli.command_error import EXIT_FAILED, EXIT_USAGE, CommandError
from driftline.cli.connection import load_settings
from driftline.cli.options import Bootstrap, Config, Json, Prefix
from driftline.cli.output import note, write_json

if TYPE_CHECKING:
    from driftline.forwarding.forwarder import Forwarder

_PREDICTION: Final = "prediction"
_EARLY: Final = 1_000
"""Events without a single prediction after which a running forwarder says so."""


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
    prediction_field: Annotated[
        str | None,
        typer.Option(
            help="Field of the prediction; records without it are events without a prediction "
            "\\[default: prediction]."
        ),
    ] = None,
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
    committed.  A record without the field of the prediction is an event without one; where no
    record has the field that was named, the exit code is 1.
    """
    from driftline.forwarding.forwarder import Forwarder, group_of  # noqa: PLC0415
    from driftline.forwarding.mapping import field_map  # noqa: PLC0415

    try:
        fields = field_map(
            as_,
            model=model,
            version=version,
            model_field=model_field,
            version_field=version_field,
            id_field=id_field,
            time_field=time_field,
            label_field=label_field,
            prediction_field=prediction_field or _PREDICTION,
            features=tuple(name for name in features.split(",") if name),
            features_field=features_field,
        )
    except ValueError as error:
        raise CommandError(
            "the mapping is not complete", why=str(error), code=EXIT_USAGE
        ) from error
    settings = load_settings(config, bootstrap_servers=bootstrap_servers, prefix=prefix)
    try:
        forwarder = Forwarder(
            settings.kafka.client(),
            source,
            group=group or group_of(settings.topics.prefix, source, fields),
            prefix=settings.topics.prefix,
            dead_letters=settings.topics.dead_letters,
            fields=fields,
            shards=shards,
        )
    except LookupError as error:
        raise CommandError(str(error), code=EXIT_USAGE) from error
    _drain(forwarder, settings.topics.events, source, prediction_field or _PREDICTION, once=once)
    _report(forwarder, as_json=as_json)
    if once and forwarder.forwarded.rejected and not forwarder.forwarded.events:
        raise CommandError(
            "every record was rejected",
            where=source,
            why=f"the last: {forwarder.last_rejection}",
            fix="look at the dead letters, then mend the mapping or the source",
            code=EXIT_FAILED,
        )
    if _has_none(forwarder):
        _say_none_has(prediction_field, source, once=once)


def _drain(forwarder: Forwarder, log: str, source: str, field: str, *, once: bool) -> None:
    """Forward until the process is asked to stop, or ``once`` to the end of the topic."""
    from driftline.forwarding.forwarder import TooManyRejectedError  # noqa: PLC0415 - light imports
    from producer.writer import DeliveryError  # noqa: PLC0415

    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stopping.append(number))
    note(f"forwarding {source} to {log}")
    warned = once  # there it is said at the end
    try:
        for at_end in forwarder.forward_batches():
            if not warned and forwarder.forwarded.events >= _EARLY and _has_none(forwarder):
                note(_none_has(field))
                warned = True
            if stopping or (once and at_end):
                break
    except TooManyRejectedError as error:
        raise CommandError(
            "the forwarder stops: it rejected too many records",
            where=source,
            why=str(error),
            fix="look at the dead letters, then mend the mapping or the source",
            code=EXIT_FAILED,
        ) from error
    except DeliveryError as error:
        raise CommandError(
            "Kafka did not take it; nothing of it is committed",
            where=log,
            why=str(error),
            fix="start it again: it goes on where it was",
            code=EXIT_FAILED,
        ) from error
    finally:
        forwarder.close()


def _report(forwarder: Forwarder, *, as_json: bool) -> None:
    """Say how many records were forwarded, and what of them was left out."""
    done, ignored_fields = forwarder.forwarded, forwarder.ignored_fields
    n_without = forwarder.without_prediction
    if as_json:
        more: dict[str, object] = {"without_prediction": n_without} if n_without else {}
        write_json(
            done._asdict() | more | ({"ignored_fields": ignored_fields} if ignored_fields else {}),
            indent=0,
        )
    else:
        without = f", {n_without:,} of them without a prediction" if n_without else ""
        note(f"{done.events:,} events forwarded{without}, {done.rejected:,} records rejected")
    for name, n in ignored_fields.most_common():
        note(
            f"not watched: {name}: it is no scalar, in {n:,} records (--features-field, --features)"
        )


def _has_none(forwarder: Forwarder) -> bool:
    """Whether no event so far has a prediction."""
    return 0 < forwarder.without_prediction == forwarder.forwarded.events


def _say_none_has(prediction_field: str | None, source: str, *, once: bool) -> None:
    """No event has a prediction.  Raises Failure where a person named the field of it."""
    if prediction_field is None or not once:
        note(_none_has(prediction_field or _PREDICTION))
        return
    raise CommandError(
        f"no record has a field {prediction_field!r}",
        where=source,
        why="the events were forwarded without a prediction: only their inputs are watched",
        fix="--prediction-field with the field that has it, or a pointer to it (/a/b); without the "
        "option where there are no predictions",
        code=EXIT_FAILED,
    )


def _none_has(field: str) -> str:
    return (
        f"not watched: predictions: no record has a field {field!r} (--prediction-field names "
        "another, or points to it: /a/b)"
    )
