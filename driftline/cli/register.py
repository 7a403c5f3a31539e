"""``driftline models register``: store a model that was trained elsewhere in the registry."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from driftline.cli.command_error import EXIT_UNREACHABLE, EXIT_USAGE, CommandError
from driftline.cli.connection import wait_for_kafka
from driftline.cli.input_files import file_errors_explained, read_rows
from driftline.cli.option_groups import option_groups
from driftline.cli.options import ShardsSetting, TimeColumn
from driftline.cli.output import note
from driftline.cli.profile import read_profile
from driftline.cli.train import KAFKA_WAIT_S, reject_invalid_factories
from driftline.cli.trainer_jobs import Factory, TrainerOptions, trainer_options
from producer.names import version_key

if TYPE_CHECKING:
    import pandas as pd

    from stream_monitor.reference.profile import ReferenceProfile
    from trainer.jobs.champions import Champion


@option_groups(options=trainer_options)
def register(
    artifact: Annotated[
        Path, typer.Argument(help="The fitted model, written with skops.io.dump(model, FILE).")
    ],
    profile: Annotated[
        Path, typer.Option(help="Its profile, written by `driftline profile build`.")
    ],
    options: TrainerOptions,
    factory: Factory = None,
    training: Annotated[
        Path | None,
        typer.Option(
            help="The rows that it was fitted on (CSV, Parquet, JSON lines), with --label; they "
            "train later versions."
        ),
    ] = None,
    label: Annotated[str | None, typer.Option(help="Column of the labels in --training.")] = None,
    time_column: TimeColumn = None,
    shards: ShardsSetting = None,
) -> None:
    """Store a model that was trained elsewhere; a model's first version goes into service.

    The profile names model and version.  If another version is in service, this one is only stored,
    and `driftline models promote` puts it into service.  Repeating the command changes nothing.

    With --training the first retrain can use all rows that the model was made from, not only those
    of the event topic.
    """
    factories = None
    made = read_profile(profile)
    if factory is not None:
        factories = {made.model: factory}
        reject_invalid_factories(factories)
    context = options.context(factories=factories, shards=shards)
    from trainer.registry.errors import MlflowFailed, RegistryError  # noqa: PLC0415 - light imports
    from trainer.service.register import register_version, stored_rows  # noqa: PLC0415

    rows = None if training is None else _training_rows(training, label, time_column, made)

    now_ms = time.time_ns() // 1_000_000
    name = version_key(made.model, made.version)
    champion = _champion(context.data_dir, made.model)
    try:
        if champion is not None and champion.version != made.version:
            manifest = context.registry.store(
                artifact,
                model=made.model,
                version=made.version,
                profile=made,
                training={} if rows is None else stored_rows(context.registry, rows, made.version),
                metrics={},
                factory=factory or "",
                caused_by="register",
                time_ms=now_ms,
            )
            context.publish([manifest])
            note(
                f"{name} is stored; {version_key(made.model, champion.version)} stays in service",
                f"to put it into service: driftline models promote {made.model} {made.version}",
            )
            return
        wait_for_kafka(context.kafka.client(), KAFKA_WAIT_S)
        register_version(
            artifact,
            made,
            data_dir=context.data_dir,
            bootstrap_servers=context.kafka.bootstrap_servers,
            time_ms=now_ms,
            prefix=context.prefix,
            shards=context.shards,
            librdkafka=context.kafka.librdkafka,
            factory=factory or "",
            training_rows=rows,
            published=context.published,
        )
    except MlflowFailed as error:
        raise CommandError(
            "the model cannot be published to MLflow",
            why=str(error),
            fix="start MLflow, or correct [trainer.registry] mlflow_uri; then repeat the command",
            code=EXIT_UNREACHABLE,
        ) from error
    except RegistryError as error:
        raise CommandError(
            "the model cannot be registered",
            where=str(artifact),
            why=str(error),
            fix='write it with skops.io.dump(model, "model.skops"); pickle files are not read',
            code=EXIT_USAGE,
        ) from error
    note(f"{name} is stored and in service")
    if not factory:
        note("no --factory was given: `driftline train` needs one to retrain the model")


def _training_rows(
    file: Path, label: str | None, event_time: str | None, profile: ReferenceProfile
) -> pd.DataFrame:
    """The rows of ``--training`` with the columns ``time_ms``, ``label`` and the features.

    Raises:
        CommandError: ``--label`` is missing, or the file or a column cannot be read.
    """
    if label is None:
        raise CommandError(
            "--training needs --label",
            fix="name the column of the labels with --label",
            code=EXIT_USAGE,
        )
    with file_errors_explained():
        from driftline.offline.backtest.labelled_stream import LabelDelay, stream_of  # noqa: PLC0415
        from driftline.offline.tables.layout import layout_of  # noqa: PLC0415
        from driftline.offline.tables.read_options import ReadOptions  # noqa: PLC0415

        table = read_rows(file, ReadOptions())
        names = [name for name in (*profile.features, *profile.skipped) if name in table.inferred]
        layout = layout_of(table, time=event_time, label=label, features=tuple(names))
        stream = stream_of(
            table.frame,
            layout,
            n_training=0,
            delay=LabelDelay(),
            task=profile.task,
            positive=profile.positive,
        )
    known = [value is not None for value in stream.labels]
    return stream.frame[known]


def _champion(data_dir: Path, model: str) -> Champion | None:
    from trainer.jobs.champions import champion_of  # noqa: PLC0415 - light imports
    from trainer.jobs.database import Database  # noqa: PLC0415

    with contextlib.closing(Database(data_dir)) as database:
        return champion_of(database.rows, model)
