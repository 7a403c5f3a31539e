"""``driftline models``: list, show, register and promote the model versions in the registry."""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from driftline.cli.command_error import EXIT_FAILED, EXIT_UNREACHABLE, CommandError, UsageError
from driftline.cli.connection import wait_for_kafka
from driftline.cli.input_files import file_errors_explained, read_rows
from driftline.cli.option_groups import option_groups
from driftline.cli.options import Json, ShardsSetting, TimeColumn
from driftline.cli.output import note, write_json, write_line
from driftline.cli.profile import read_profile
from driftline.cli.retrain import report_job
from driftline.cli.train import KAFKA_WAIT_S, reject_invalid_factories
from driftline.cli.trainer_jobs import (
    Factory,
    TrainerOptions,
    WaitSeconds,
    run_job_request,
    trainer_options,
)
from producer.names import parse_version_key, version_key

if TYPE_CHECKING:
    import pandas as pd

    from stream_monitor.reference.profile import ReferenceProfile
    from trainer.jobs.champions import Champion
    from trainer.jobs.comparisons import Standing
    from trainer.registry.manifest import Manifest

app = typer.Typer(no_args_is_help=True, help="Model versions in the registry.")

DataDir: TypeAlias = Annotated[
    Path,
    typer.Option(
        "--data-dir",
        envvar="DRIFTLINE_TRAINER_DATA_DIR",
        help="Folder with the trainer's database and the registry.",
    ),
]
DEFAULT_DATA_DIR = Path(".driftline")


@app.command("list")
def list_versions(
    model: Annotated[str | None, typer.Argument(help="Only this model.")] = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    *,
    as_json: Json = False,
) -> None:
    """List the versions of each model, the oldest first."""
    from trainer.registry.errors import RegistryError  # noqa: PLC0415 - light imports
    from trainer.registry.registry import registry_of  # noqa: PLC0415

    registry = registry_of(data_dir)
    try:
        models = registry.models() if model is None else [model]
        found = [manifest for name in models for manifest in registry.versions(name)]
    except RegistryError as error:
        raise CommandError(
            "the registry is damaged", where=str(registry.folder), why=str(error)
        ) from error
    named = {name: _aliases(data_dir, name) for name in models}
    if as_json:
        write_json([summary(m) | {"aliases": _names(named, m)} for m in found])
        return
    if not found:
        write_line(f"no versions{'' if model is None else f' of {model}'} in {registry.folder}")
    for manifest in found:
        aliases = ", ".join(_names(named, manifest))
        write_line(line(manifest) + (f"  ({aliases})" if aliases else ""))


def _aliases(data_dir: Path, model: str) -> dict[str, str]:
    import sqlite3  # noqa: PLC0415 - light imports

    from trainer.jobs.champions import read_aliases  # noqa: PLC0415

    try:
        return read_aliases(data_dir, model)
    except sqlite3.Error as error:
        raise CommandError(
            "the trainer's database cannot be read", where=str(data_dir), why=str(error)
        ) from error


def _standing(data_dir: Path, manifest: Manifest) -> tuple[Standing | None, dict[str, float]]:
    """How a version compares with the champion, and the weights of the pool that it names."""
    import sqlite3  # noqa: PLC0415 - light imports

    from trainer.jobs.comparisons import read_pool_weights, read_standing  # noqa: PLC0415

    try:
        standing = read_standing(data_dir, manifest.model, manifest.version)
        pool, weights = read_pool_weights(data_dir, manifest.model) or ("", {})
    except sqlite3.Error as error:
        raise CommandError(
            "the trainer's database cannot be read", where=str(data_dir), why=str(error)
        ) from error
    return standing, weights if pool == manifest.version else {}


def _names(named: dict[str, dict[str, str]], manifest: Manifest) -> list[str]:
    """The aliases of one version."""
    aliases = named[manifest.model].items()
    return [alias for alias, version in aliases if version == manifest.version]


@app.command()
def show(
    name: Annotated[
        str,
        typer.Argument(
            help="MODEL@VERSION, MODEL@champion, MODEL@challenger, or MODEL for its newest version."
        ),
    ],
    data_dir: DataDir = DEFAULT_DATA_DIR,
    *,
    as_json: Json = False,
) -> None:
    """Show one version: its origin, training data and metrics, compared with the champion.

    Of a pool in service also its members and their weights.
    """
    manifest = find(data_dir, name)
    standing, weights = _standing(data_dir, manifest)
    if as_json:
        compared = None if standing is None else standing._asdict()
        shown = {"profile": manifest.profile, "comparison": compared, "members": weights}
        write_json({**summary(manifest), **shown})
        return
    training = dict(manifest.training)
    left_out, output = training.pop("left_out", {}), str(training.pop("fit_output", ""))
    for key, value in (summary(manifest) | {"training": training}).items():
        write_line(f"{key:<16} {_shown(value)}")
    for reason, rows in left_out.items():
        write_line(f"{'left out':<16} {rows:,} {reason}")
    for line_of_fit in output.splitlines():
        write_line(f"{'output of fit':<16} {line_of_fit}")
    if standing is not None:
        word = "lower" if standing.improvement > 0 else "higher"
        write_line(
            f"{'comparison':<16} over {standing.labelled_events:,} labelled events its loss is "
            f"{word} by {abs(standing.improvement):.4g} than that of the champion "
            f"{standing.champion} (wealth {standing.wealth:.3g})"
        )
    for member, weight in sorted(weights.items(), key=lambda one: -one[1]):
        write_line(f"{'member of pool':<16} version {member} with the weight {weight:.3f}")
    features = manifest.profile.get("features", {})
    write_line(f"{'features':<16} {', '.join(features) or 'none'}")


def find(data_dir: Path, name: str) -> Manifest:
    """The version named ``model@version``, ``model@alias`` or ``model`` (the newest).

    Raises:
        CommandError: there is no such version, or its manifest cannot be read.
    """
    from trainer.registry.errors import NoSuchVersion, RegistryError  # noqa: PLC0415
    from trainer.registry.registry import registry_of  # noqa: PLC0415

    registry = registry_of(data_dir)
    model, version = parse_version_key(name)
    try:
        if version is not None:
            return registry.manifest(model, _aliases(data_dir, model).get(version, version))
        return registry.newest(model)
    except NoSuchVersion as error:
        fix = "`driftline models list` shows the versions; --data-dir names the registry's folder"
        raise UsageError(
            f"the registry has no version {name!r}", why=str(error), fix=fix
        ) from error
    except RegistryError as error:
        raise CommandError(
            "the registry is damaged", where=str(registry.folder), why=str(error)
        ) from error


def summary(manifest: Manifest) -> dict[str, Any]:
    """The manifest of a version, without its profile."""
    return {
        "model": manifest.model,
        "version": manifest.version,
        "stored": moment(manifest.time_ms),
        "artifact_sha256": manifest.artifact_sha256,
        "artifact_bytes": manifest.artifact_bytes,
        "factory": manifest.factory,
        "caused_by": manifest.caused_by,
        "training": manifest.training,
        "metrics": manifest.metrics,
        "libraries": manifest.libraries,
    }


def line(manifest: Manifest) -> str:
    """A version as one line."""
    metrics = " ".join(f"{name}={_shown(value)}" for name, value in manifest.metrics.items())
    return (
        f"{version_key(manifest.model, manifest.version)}  {moment(manifest.time_ms)}  "
        f"{manifest.artifact_sha256[:12]}  {manifest.artifact_bytes / 1024:.0f} KiB  "
        f"by {manifest.caused_by}  {metrics}"
    ).rstrip()


def moment(time_ms: int) -> str:
    """A time to the second, in UTC, as ISO 8601.

    >>> moment(1384903980000)
    '2013-11-19T23:33:00Z'
    """
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}={_shown(inner)}" for name, inner in value.items())
    return f"{value:.6g}" if isinstance(value, float) else str(value)


@app.command()
@option_groups(options=trainer_options)
def promote(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    version: Annotated[str, typer.Argument(help="A version of the registry.")],
    options: TrainerOptions,
    wait_s: WaitSeconds = 60.0,
    *,
    json: Json = False,
) -> None:
    """Put a version into service: announce it to the monitor, then to the model servers."""
    context = options.context()
    from trainer.service.requests import promote_request  # noqa: PLC0415 - light imports

    job = run_job_request(
        context, lambda rows: promote_request(rows, context, model, version), wait_s
    )
    report_job(job, json=json)
    if job.outcome != "promoted":
        raise typer.Exit(EXIT_FAILED)


@app.command()
@option_groups(options=trainer_options)
def rollback(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    options: TrainerOptions,
    wait_s: WaitSeconds = 60.0,
    *,
    json: Json = False,
) -> None:
    """Put the previous champion back into service."""
    context = options.context()
    from trainer.service.requests import rollback_request  # noqa: PLC0415 - light imports

    job = run_job_request(context, lambda rows: rollback_request(rows, context, model), wait_s)
    report_job(job, json=json)
    if job.outcome != "rolled_back":
        raise typer.Exit(EXIT_FAILED)


@app.command()
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
        raise UsageError(
            "the model cannot be registered",
            where=str(artifact),
            why=str(error),
            fix='write it with skops.io.dump(model, "model.skops"); pickle files are not read',
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
        raise UsageError(
            "--training needs --label", fix="name the column of the labels with --label"
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
