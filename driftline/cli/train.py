"""``driftline train``: run the trainer until it is stopped."""

from __future__ import annotations

import signal
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Final

import typer

from driftline.cli.command_error import EXIT_USAGE, CommandError
from driftline.cli.connection import wait_for_kafka
from driftline.cli.options import Bootstrap, Config, Prefix
from driftline.cli.trainer_jobs import DataDir, Factory, load_trainer_context

if TYPE_CHECKING:
    from trainer.service.context import TrainerContext

KAFKA_WAIT_S: Final = 15.0


def train(
    config: Config = None,
    bootstrap_servers: Bootstrap = None,
    prefix: Prefix = None,
    data_dir: DataDir = None,
    model: Annotated[str | None, typer.Option(help="The model that --factory belongs to.")] = None,
    factory: Factory = None,
    shards: Annotated[
        int | None,
        typer.Option(min=1, help="Shards of a hot model; the same number as in its servers."),
    ] = None,
    web_port: Annotated[
        int | None,
        typer.Option(min=0, max=65_535, help="Port for health and metrics; 0 takes a free port."),
    ] = None,
) -> None:
    """Run the trainer: read alerts, retrain, compare; propose, promote or reject.

    Run one trainer for each --data-dir.

    Exit codes: 0 stopped by a signal, 1 failed (start it again), 2 invalid setting, 4 Kafka
    unreachable.
    """
    if (model is None) != (factory is None):
        raise CommandError(
            "--model and --factory must be given together",
            fix="driftline train --model MODEL --factory module:function",
            code=EXIT_USAGE,
        )
    factories = {model: factory} if model is not None and factory is not None else None
    context = load_trainer_context(
        config,
        bootstrap_servers=bootstrap_servers,
        prefix=prefix,
        data_dir=data_dir,
        factories=factories,
        shards=shards,
        web_port=web_port,
    )
    if not context.factories:
        raise CommandError(
            "no model has a factory",
            fix="give --model and --factory, or [trainer.factories] in driftline.toml",
            code=EXIT_USAGE,
        )
    from producer.permission import refuse_missing  # noqa: PLC0415 - light imports
    from stream_monitor.runtime.logs import configure  # noqa: PLC0415
    from stream_monitor.trainer_heartbeat import monitor_group, trainer_group  # noqa: PLC0415
    from stream_monitor.web import PortInUse  # noqa: PLC0415
    from trainer.service.lock import TrainerAlreadyRunning, trainer_lock  # noqa: PLC0415
    from trainer.service.trainer import Trainer  # noqa: PLC0415

    reject_invalid_factories(context.factories)
    reject_invalid_golden_sets(context)
    wait_for_kafka(context.kafka.client(), KAFKA_WAIT_S)
    topics = context.topics
    refuse_missing(
        context.kafka.client(),
        topics={
            topics.events: ("Read", "Write"),
            topics.alerts: ("Read", "Write"),
            topics.retrain: ("Write",),
            topics.models: ("Read", "Write"),
        },
        groups={
            trainer_group(context.prefix): ("Read",),
            monitor_group(context.prefix): ("Describe",),
        },
    )
    configure()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        with trainer_lock(context.data_dir), Trainer(context) as trainer:
            trainer.serve()
            trainer.run(stop)
    except PortInUse as error:
        why, _, fix = str(error).partition(" Fix: ")
        raise CommandError(
            "the port for health and metrics is in use", why=why, fix=fix, code=EXIT_USAGE
        ) from error
    except TrainerAlreadyRunning as error:
        raise CommandError(
            "a trainer is already running",
            why=str(error),
            fix="stop it, or give this one another --data-dir",
            code=EXIT_USAGE,
        ) from error


def reject_invalid_golden_sets(context: TrainerContext) -> None:
    """Check that the golden set of each model can be compared on.

    Raises:
        CommandError: a file is missing, or lacks a column, rows or labels.
    """
    import contextlib  # noqa: PLC0415 - light imports

    from trainer.dataset.golden_set import InvalidGoldenSet, read_golden_set  # noqa: PLC0415
    from trainer.jobs.champions import champion_of  # noqa: PLC0415
    from trainer.jobs.database import Database  # noqa: PLC0415

    for model in sorted(context.factories):
        file = context.gate.golden_file(model)
        if file is None:
            continue
        with contextlib.closing(Database(context.data_dir)) as database:
            champion = champion_of(database.rows, model)
        manifest = None if champion is None else context.manifest(model, champion.version)
        features = None if manifest is None else list(manifest.reference().features)
        try:
            read_golden_set(file, features, context.gate.min_events)
        except InvalidGoldenSet as error:
            raise CommandError(
                "a golden set cannot be used",
                where=f"[trainer.gate] golden, for {model}",
                why=str(error),
                fix="name a Parquet file with a column for each feature of the model and a column "
                "label, or remove the setting",
                code=EXIT_USAGE,
            ) from error


def reject_invalid_factories(factories: Mapping[str, str]) -> None:
    """Check that every factory returns an estimator; without one no retrain can succeed.

    Raises:
        CommandError: a factory cannot be imported, or returns something else.
    """
    from trainer.fitting.probe import factory_problem  # noqa: PLC0415 - light imports

    for model, factory in sorted(factories.items()):
        why = factory_problem(factory)
        if why is not None:
            raise CommandError(
                "a factory does not return an estimator",
                where=f"{factory}, for {model}",
                why=why,
                fix="name a function that returns an unfitted scikit-learn estimator, as "
                "module:function; run the command in the module's folder, or install the module",
                code=EXIT_USAGE,
            )
