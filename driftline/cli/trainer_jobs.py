"""Load the trainer's settings, and run a job that a person requested."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeAlias

import typer

from driftline.cli.command_error import CommandError, UsageError
from driftline.cli.connection import flags_by_section, load_file_settings
from driftline.cli.options import Bootstrap, Config, Prefix
from driftline.cli.output import note

if TYPE_CHECKING:
    import sqlite3

    from trainer.jobs.job import Job
    from trainer.service.context import TrainerContext

DataDir: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        envvar="DRIFTLINE_TRAINER_DATA_DIR",
        help="Folder with the trainer's database and the registry \\[default: .driftline].",
    ),
]
Factory: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--factory", help="Function that returns an unfitted estimator, as module:function."
    ),
]
FactoryModel: TypeAlias = Annotated[
    str | None, typer.Option("--model", help="The model that --factory belongs to.")
]
WaitSeconds: TypeAlias = Annotated[
    float, typer.Option("--wait", min=1, help="Seconds to wait for a running trainer.")
]


class TrainerOptions(NamedTuple):
    """The options of every command that uses the trainer's settings."""

    config: Path | None
    bootstrap_servers: str | None
    prefix: str | None
    data_dir: Path | None

    def context(
        self,
        *,
        factories: dict[str, str] | None = None,
        shards: int | None = None,
        web_port: int | None = None,
    ) -> TrainerContext:
        """Load the trainer's settings: flags, then environment, then file, then defaults.

        Raises:
            CommandError: the file does not exist, or a setting is invalid.
        """
        from trainer.service.context import context_from_settings  # noqa: PLC0415 - light imports
        from trainer.settings import Settings  # noqa: PLC0415

        flags = flags_by_section(
            ("kafka", "bootstrap_servers", self.bootstrap_servers),
            ("topics", "prefix", self.prefix),
            ("trainer", "data_dir", self.data_dir),
            ("trainer", "factories", factories or None),
            ("trainer", "shards", shards),
            ("trainer", "web", None if web_port is None else {"port": web_port}),
        )
        try:
            return context_from_settings(load_file_settings(Settings, self.config, flags))
        except ValueError as error:
            raise UsageError("a setting of the trainer is invalid", why=str(error)) from error


def trainer_options(
    config: Config = None,
    bootstrap_servers: Bootstrap = None,
    prefix: Prefix = None,
    data_dir: DataDir = None,
) -> TrainerOptions:
    """The group of options of `TrainerOptions`."""
    return TrainerOptions(config, bootstrap_servers, prefix, data_dir)


def factory_of_model(command: str, model: str | None, factory: str | None) -> dict[str, str]:
    """The factories that the options ``--model`` and ``--factory`` give: one, or none.

    Raises:
        CommandError: only one of the options was given.
    """
    if model is not None and factory is not None:
        return {model: factory}
    if model is factory:
        return {}
    raise UsageError(
        "--model and --factory must be given together",
        fix=f"driftline {command} --model MODEL --factory module:function",
    )


def run_job_request(
    context: TrainerContext, make: Callable[[sqlite3.Connection], Job], wait_s: float
) -> Job:
    """Record a job, and wait until the running trainer has done it; without one, run it here.

    Raises:
        CommandError: the request was rejected, or the job is not done within ``wait_s`` seconds;
            then it stays recorded.
    """
    from stream_monitor.runtime.logs import configure  # noqa: PLC0415 - light imports
    from trainer.jobs.database import Database, TrainerAlreadyRunning, trainer_lock  # noqa: PLC0415
    from trainer.service.requests import RequestRejected, add_request  # noqa: PLC0415
    from trainer.service.trainer import Trainer  # noqa: PLC0415

    configure()
    with contextlib.closing(Database(context.data_dir)) as database:
        try:
            with database.transaction() as rows:
                job = make(rows)
                add_request(rows, context, job)
        except RequestRejected as error:
            raise CommandError("the request was rejected", why=str(error), fix=error.fix) from error
        try:
            with trainer_lock(context.data_dir), Trainer(context) as trainer:
                return trainer.run_job(job.job_id, threading.Event())
        except TrainerAlreadyRunning:
            note("a trainer is running; it takes the job")
            return _wait_for_job(database, job, wait_s)


def _wait_for_job(database: Any, job: Job, wait_s: float) -> Job:
    import time  # noqa: PLC0415

    from trainer.jobs.job_store import find_job  # noqa: PLC0415

    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        found = find_job(database.rows, job.job_id)
        if found is not None and found.state == "done":
            return found
        time.sleep(0.1)
    raise CommandError(
        f"the job is not done after {wait_s:g} s",
        where=job.job_id,
        fix="the trainer continues with it and publishes the outcome on the retrain topic",
    )
