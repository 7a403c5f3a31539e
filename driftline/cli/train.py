"""``driftline train``: run the trainer until it is stopped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from driftline.cli.command_error import UsageError
from driftline.cli.connection import wait_for_kafka
from driftline.cli.option_groups import option_groups
from driftline.cli.options import ShardsSetting, WebPort
from driftline.cli.running_service import run_until_stopped, starting
from driftline.cli.trainer_jobs import (
    Factory,
    FactoryModel,
    TrainerOptions,
    factory_of_model,
    trainer_options,
)

if TYPE_CHECKING:
    from trainer.service.context import TrainerContext

KAFKA_WAIT_S: Final = 15.0


@option_groups(options=trainer_options)
def train(
    options: TrainerOptions,
    model: FactoryModel = None,
    factory: Factory = None,
    shards: ShardsSetting = None,
    web_port: WebPort = None,
) -> None:
    """Run the trainer: read alerts, retrain, compare; propose, promote or reject.

    Run one trainer for each --data-dir.

    Exit codes: 0 stopped by a signal, 1 failed (start it again), 2 invalid setting, 4 Kafka
    unreachable.
    """
    context = options.context(
        factories=factory_of_model("train", model, factory), shards=shards, web_port=web_port
    )
    if not context.factories:
        raise UsageError(
            "no model has a factory",
            fix="give --model and --factory, or [trainer.factories] in driftline.toml",
        )
    from producer.permission import require_permissions  # noqa: PLC0415 - light imports
    from stream_monitor.trainer_heartbeat import monitor_group, trainer_group  # noqa: PLC0415
    from trainer.jobs.database import TrainerAlreadyRunning, trainer_lock  # noqa: PLC0415
    from trainer.service.trainer import Trainer  # noqa: PLC0415

    reject_invalid_factories(context.factories)
    reject_invalid_golden_sets(context)
    wait_for_kafka(context.kafka.client(), KAFKA_WAIT_S)
    topics = context.topics
    require_permissions(
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
    with (
        starting("trainer", TrainerAlreadyRunning),
        trainer_lock(context.data_dir),
        Trainer(context) as trainer,
    ):
        run_until_stopped(trainer)


def reject_invalid_golden_sets(context: TrainerContext) -> None:
    """Reject a golden set on which the models cannot be compared.

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
            raise UsageError(
                "a golden set cannot be used",
                where=f"[trainer.gate] golden, for {model}",
                why=str(error),
                fix="name a Parquet file with a column for each feature of the model and a column "
                "label, or remove the setting",
            ) from error


def reject_invalid_factories(factories: Mapping[str, str]) -> None:
    """Check that every factory returns an estimator; without one no retrain can succeed.

    Raises:
        CommandError: a factory cannot be imported, or returns something else.
    """
    from trainer.fitting.factory import factory_problem  # noqa: PLC0415 - light imports

    for model, factory in sorted(factories.items()):
        why = factory_problem(factory)
        if why is not None:
            raise UsageError(
                "a factory does not return an estimator",
                where=f"{factory}, for {model}",
                why=why,
                fix="name a function that returns an unfitted scikit-learn estimator, as "
                "module:function; run the command in the module's folder, or install the module",
            )
