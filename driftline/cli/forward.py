"""``driftline forward``: copy labels or events from another topic into the event topic."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Annotated, Final

import typer

from driftline.cli.command_error import CommandError, UsageError
from driftline.cli.option_groups import kafka_settings, option_groups
from driftline.cli.options import Json, Shards
from driftline.cli.output import note, write_json

if TYPE_CHECKING:
    from driftline.forwarding.forwarder import Forwarder
    from stream_monitor.settings import Settings

_PREDICTION: Final = "prediction"
_EARLY: Final = 1_000
"""A running forwarder prints a warning after this many events if none has a prediction."""


@option_groups(settings=kafka_settings)
def forward(
    source: Annotated[str, typer.Argument(help="The topic to read.")],
    *,
    as_: Annotated[
        str | None,
        typer.Option(
            "--as",
            help="Records are JSON objects with a label or an event.  Options give the names of "
            "their fields, or JSON pointers such as /a/b.",
        ),
    ] = None,
    model: Annotated[str, typer.Option(help="Name of the model.")] = "",
    version: Annotated[str, typer.Option(help="Version of the model, for events.")] = "",
    model_field: Annotated[str, typer.Option(help="Field with the name of the model.")] = "",
    version_field: Annotated[str, typer.Option(help="Field with the version.")] = "",
    id_field: Annotated[str, typer.Option(help="Field with the id of the prediction.")] = "id",
    time_field: Annotated[str, typer.Option(help="Field with the event time.")] = "time_ms",
    label_field: Annotated[str, typer.Option(help="Field with the label.")] = "label",
    prediction_field: Annotated[
        str | None,
        typer.Option(
            help="Field with the prediction; a record without it is an event without a prediction "
            "\\[default: prediction]."
        ),
    ] = None,
    features: Annotated[
        str,
        typer.Option(help="Fields that are features, separated by commas \\[default: all others]."),
    ] = "",
    features_field: Annotated[
        str,
        typer.Option(
            help="Field with an object of features \\[default: features, if it is an object]."
        ),
    ] = "",
    shards: Shards = 1,
    group: Annotated[
        str | None,
        typer.Option(
            help="Consumer group \\[default: one for each prefix, topic, kind and model]."
        ),
    ] = None,
    settings: Settings,
    once: Annotated[bool, typer.Option("--once", help="Stop at the end of the topic.")] = False,
    as_json: Json = False,
) -> None:
    """Copy labels or events from another topic into the event topic, at least once.

    Records that are copied twice keep their id, so the monitor counts them once.  Without --as the
    records must be in driftline's own format.  A record that cannot be read, or is too large,
    becomes a dead letter; too many dead letters stop the forwarder before it commits them.

    With --once the exit code is 1 if every record was rejected, or if no record has the field of
    --prediction-field.
    """
    from driftline.forwarding.forwarder import Forwarder, group_of  # noqa: PLC0415 - light imports
    from driftline.forwarding.mapping import field_map  # noqa: PLC0415
    from driftline.topics.topic_reader import MissingTopicError  # noqa: PLC0415

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
        raise UsageError("the description of the records is incomplete", why=str(error)) from error
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
    except MissingTopicError as error:
        raise UsageError(str(error), fix="check the name of the topic") from error
    field = prediction_field or _PREDICTION
    _run_forwarder(forwarder, settings.topics.events, source, field, once=once)
    _report(forwarder, as_json=as_json)
    if once and forwarder.forwarded.rejected and not forwarder.forwarded.events:
        raise CommandError(
            "every record was rejected",
            where=source,
            why=f"the last one: {forwarder.last_rejection}",
            fix="see `driftline dead-letters show`, then correct the options or the source",
        )
    if _has_no_prediction(forwarder):
        _report_no_prediction(prediction_field, source, once=once)


def _run_forwarder(
    forwarder: Forwarder, event_topic: str, source: str, field: str, *, once: bool
) -> None:
    """Forward until the process is stopped, or with ``once`` to the end of the topic."""
    from driftline.forwarding.forwarder import TooManyRejectedError  # noqa: PLC0415 - light imports
    from producer.writer import DeliveryError  # noqa: PLC0415

    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stopping.append(number))
    note(f"forwarding {source} to {event_topic}")
    warned = once  # with --once the warning comes at the end
    try:
        for at_end in forwarder.forward_batches():
            n_events = forwarder.forwarded.events
            if not warned and n_events >= _EARLY and _has_no_prediction(forwarder):
                note(_no_prediction_text(field))
                warned = True
            if stopping or (once and at_end):
                break
    except TooManyRejectedError as error:
        raise CommandError(
            "the forwarder stopped: it rejected too many records",
            where=source,
            why=str(error),
            fix="see `driftline dead-letters show`, then correct the options or the source",
        ) from error
    except DeliveryError as error:
        raise CommandError(
            "Kafka did not acknowledge the records; their batch is not committed",
            where=event_topic,
            why=str(error),
            fix="start the forwarder again: it continues where it stopped",
        ) from error
    finally:
        forwarder.close()


def _report(forwarder: Forwarder, *, as_json: bool) -> None:
    """Print how many records were forwarded, and which fields were ignored."""
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
            f"not watched: {name}: not a number, text or boolean, in {n:,} records "
            "(--features-field, --features)"
        )


def _has_no_prediction(forwarder: Forwarder) -> bool:
    """Whether events were forwarded, and none of them has a prediction."""
    return 0 < forwarder.without_prediction == forwarder.forwarded.events


def _report_no_prediction(prediction_field: str | None, source: str, *, once: bool) -> None:
    """Report that no event has a prediction.

    Raises:
        CommandError: the user named the field with ``--prediction-field``, and the run is over.
    """
    if prediction_field is None or not once:
        note(_no_prediction_text(prediction_field or _PREDICTION))
        return
    raise CommandError(
        f"no record has a field {prediction_field!r}",
        where=source,
        why="the events were forwarded without a prediction, so only their features are watched",
        fix="name the field, or a pointer to it (/a/b), with --prediction-field; leave the option "
        "out if there are no predictions",
    )


def _no_prediction_text(field: str) -> str:
    return (
        f"not watched: predictions: no record has a field {field!r} (name the field, or a pointer "
        "to it such as /a/b, with --prediction-field)"
    )
